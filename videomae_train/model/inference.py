"""Reading an architecture off the shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from videomae_train.errors import CheckpointError
from videomae_train.model.config import VideoMAEConfig

# Heads do not show in any shape; these are the released models' (transformers' ViT-S with 16 is another
# function).
ENCODER_HEADS = {384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16}
DECODER_HEADS = {192: 3, 384: 6, 512: 8, 640: 8}


def infer_config(state: Mapping[str, Tensor], *, where: str) -> VideoMAEConfig:
    """Infer the configuration of an official file's tensors.

    Frame size and count leave no trace in the tensors: they are the released 16 frames of 224x224.

    Args:
        state: Tensors under our names.
        where: The file's name, for errors.

    Raises:
        CheckpointError: The tensors are no VideoMAE's, or of a width that was never released.
    """
    try:
        width, channels, tubelet, patch, _ = state["encoder.patch_embed.proj.weight"].shape
        sizes: dict[str, Any] = {
            "hidden_size": width,
            "num_channels": channels,
            "tubelet_size": tubelet,
            "patch_size": patch,
            "num_attention_heads": ENCODER_HEADS[width],
            "num_hidden_layers": _depth(state, "encoder"),
            "intermediate_size": state["encoder.blocks.0.mlp.fc1.bias"].shape[0],
            "qkv_bias": "encoder.blocks.0.attn.q_bias" in state,
            # A classifier with the encoder's norm takes its first token; in a pretrained encoder the norm says nothing.
            "use_mean_pooling": "encoder.norm.weight" not in state or "head.weight" not in state,
            "encoder_norm": "encoder.norm.weight" in state,
            **_decoder_sizes(state),
        }
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            where=where,
            came=f"{len(state)} tensors without {error}",
            expected="a VideoMAE of a released width",
            todo="Give the architecture with --config FOLDER (config= in Python): head counts do not show in tensors.",
        ) from error
    config = VideoMAEConfig(**sizes)
    return replace(config, num_labels=state["head.bias"].shape[0]) if "head.bias" in state else config


def _decoder_sizes(state: Mapping[str, Tensor]) -> dict[str, int]:
    if "mask_token" not in state:
        return {}
    width = state["mask_token"].shape[-1]
    return {
        "decoder_hidden_size": width,
        "decoder_num_attention_heads": DECODER_HEADS[width],
        "decoder_num_hidden_layers": _depth(state, "decoder"),
        "decoder_intermediate_size": state["decoder.blocks.0.mlp.fc1.bias"].shape[0],
    }


def _depth(state: Mapping[str, Tensor], part: str) -> int:
    numbers = [re.match(rf"{part}\.blocks\.(\d+)\.", name) for name in state]
    return 1 + max(int(match[1]) for match in numbers if match)
