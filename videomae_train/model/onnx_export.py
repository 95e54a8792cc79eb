"""The classifier as an ONNX graph."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from videomae_train.errors import ConfigError
from videomae_train.model.classifier import VideoMAEForVideoClassification


class _Logits(nn.Module):
    """The classifier with one tensor in and one out, which is what a graph has."""

    def __init__(self, model: VideoMAEForVideoClassification) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.model.forward_head(self.model.forward_features(pixel_values))


def export_onnx(model: VideoMAEForVideoClassification, path: Path) -> None:
    """Write the classifier as ONNX: input `pixel_values` (batch, T, C, H, W), output `logits` (batch, K).

    Args:
        model: Put into evaluation mode.
        path: The .onnx file; its folder must exist.

    Raises:
        ConfigError: The packages that write ONNX are not installed.
    """
    if find_spec("onnxscript") is None:
        raise ConfigError(
            where="--to onnx",
            came="no package onnxscript",
            expected="the extra `onnx`",
            todo="Run `make install`, or pip install '.[onnx]' from a clone.",
        )
    example = torch.zeros(2, *model.encoder.patch_embed.clip_shape)
    program = torch.onnx.export(
        _Logits(model).eval(),
        (example,),
        input_names=["pixel_values"],
        output_names=["logits"],
        dynamic_shapes={"pixel_values": {0: torch.export.Dim("batch")}},
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    program.save(str(path))
