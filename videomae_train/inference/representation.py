"""What of a clip is taken as its features: which layer's tokens, and how they are pooled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from videomae_train.errors import ConfigError
from videomae_train.model import VideoMAEConfig, VideoMAEForVideoClassification, VideoMAEModel

Pooling = Literal["mean", "space", "none"]
EncoderModel = VideoMAEModel | VideoMAEForVideoClassification


@dataclass(frozen=True)
class Representation:
    """A layer and a pooling.

    Attributes:
        layer: 0 the tokens before the first block, 1 after it, and so on; negative from the last one, -1, back. The
            last layer is what the model goes on with: after the encoder's final norm where there is one, and, of a
            classifier that pools by mean and `pooling="mean"`, after the norm of the pooled, which the head sees.
            Layers before the last are without a norm.
        pooling: "mean" over all tokens: (D,). "space": over each time slot: (T / tubelet_size, D). "none": all
            tokens, time slowest, then row, then column: (N, D).
    """

    layer: int = -1
    pooling: Pooling = "mean"

    def depth(self, config: VideoMAEConfig) -> int:
        """Say how many blocks tokens pass through.

        Raises:
            ConfigError: The model has no such layer.
        """
        last = config.num_hidden_layers
        depth = self.layer if self.layer >= 0 else last + 1 + self.layer
        if not 0 <= depth <= last:
            raise ConfigError(
                where="layer",
                came=str(self.layer),
                expected=f"{-last - 1} to {last}: the model has {last} blocks",
                todo="Take -1 for the last one.",
            )
        return depth

    def shape(self, config: VideoMAEConfig) -> tuple[int, ...]:
        """Give the shape of one clip's features."""
        width = config.hidden_size
        return {
            "mean": (width,),
            "space": (config.grid.t, width),
            "none": (config.grid.num_tokens, width),
        }[self.pooling]


@torch.inference_mode()
def encode_clips(model: EncoderModel, clips: Tensor, wanted: Representation) -> Tensor:
    """Compute features of clips; blocks after the wanted layer are not run.

    Args:
        model: In evaluation mode, on the clips' device.
        clips: uint8 (B, T, C, H, W), RGB 0..255.
        wanted: Layer and pooling.

    Returns:
        float32 (B, *wanted.shape(model.config)).

    Raises:
        ConfigError: The model has no such layer, or the clips have another shape.
    """
    encoder, depth = model.encoder, wanted.depth(model.config)
    tokens = encoder.embed(encoder.patch_embed.normalise(encoder.patch_embed.cut(clips)), None)
    for block in encoder.blocks[:depth]:
        tokens = block(tokens)
    is_last = depth == len(encoder.blocks)
    tokens = encoder.norm(tokens) if is_last else tokens
    if wanted.pooling == "none":
        return tokens.float()
    if wanted.pooling == "space":
        return tokens.unflatten(1, (model.config.grid.t, -1)).mean(2).float()
    if is_last and isinstance(model, VideoMAEForVideoClassification) and model.config.use_mean_pooling:
        return model.forward_head(tokens, pre_logits=True).float()
    return tokens.mean(1).float()
