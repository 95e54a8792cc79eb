"""Cutting clips into patches, normalising pixels, and embedding only the patches that are asked for.

A patch lists its P values in the order (dt, dy, dx, channel), channel fastest, because targets have it and
because it is the order of pixels in the memory of a decoded frame.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videomae_train.errors import ConfigError
from videomae_train.model.config import IMAGENET_MEAN, IMAGENET_STD, VideoMAEConfig
from videomae_train.types import PatchGrid


def patchify(clips: Tensor, *, tubelet_size: int, patch_size: int) -> Tensor:
    """Cut clips into patches.

    Args:
        clips: (B, T, C, H, W), any dtype; fastest as a view of (B, T, H, W, C) memory.
        tubelet_size: Frames per patch; divides T.
        patch_size: Patch edge in pixels; divides H and W.

    Returns:
        (B, N, P) of the same dtype: tokens time slowest, then row, then column; values (dt, dy, dx, channel).
    """
    b, t, c, h, w = clips.shape
    pixels = clips.permute(0, 1, 3, 4, 2)
    cut = pixels.reshape(
        b, t // tubelet_size, tubelet_size, h // patch_size, patch_size, w // patch_size, patch_size, c
    )
    return cut.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4).flatten(1, 3)


def unpatchify(patches: Tensor, grid: PatchGrid, *, tubelet_size: int, patch_size: int) -> Tensor:
    """Put patches back together; the inverse of `patchify`.

    Args:
        patches: (B, N, P), any dtype.
        grid: Patches along time, height and width; t * h * w = N.
        tubelet_size: Frames per patch.
        patch_size: Patch edge in pixels.

    Returns:
        (B, T, C, H, W), a view of (B, T, H, W, C) memory.
    """
    cut = patches.unflatten(1, tuple(grid)).unflatten(4, (tubelet_size, patch_size, patch_size, -1))
    pixels = cut.permute(0, 1, 4, 2, 5, 3, 6, 7).flatten(5, 6).flatten(3, 4).flatten(1, 2)
    return pixels.permute(0, 1, 4, 2, 3)


def gather_tokens(tokens: Tensor, idx: Tensor) -> Tensor:
    """Pick tokens by number, per clip: (B, N, X) and int64 (B, K) give (B, K, X)."""
    # Whole rows of one table: many times faster than torch.gather, which looks up each value by itself.
    batch, num_tokens, _ = tokens.shape
    rows = idx + num_tokens * torch.arange(batch, device=idx.device).unsqueeze(1)
    return tokens.flatten(0, 1).index_select(0, rows.flatten()).unflatten(0, idx.shape)


def normalise_clips(
    clips: Tensor,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Turn pixels into what the encoder was trained on: (x / 255 - mean) / std per channel.

    Args:
        clips: uint8 (B, T, C, H, W), 0..255.
        mean: Per channel, on [0, 1].
        std: Per channel, on [0, 1].
        dtype: Floating type of the result.

    Returns:
        (B, T, C, H, W) in `dtype`, memory laid out like the argument's.
    """
    centre = torch.tensor(mean, dtype=dtype, device=clips.device).view(-1, 1, 1)
    spread = torch.tensor(std, dtype=dtype, device=clips.device).view(-1, 1, 1)
    return (clips.to(dtype) / 255.0 - centre) / spread


class PatchEmbed(nn.Module):
    """Linear embedding of patches, stored as the published Conv3d.

    The kernel equals the stride, so the convolution is one matrix product per patch. Doing it on patches that
    were gathered first costs a tenth of embedding the whole clip at 90 % masking, and gives the same numbers.
    """

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        self.tubelet_size, self.patch_size = config.tubelet_size, config.patch_size
        self.clip_shape = (config.num_frames, config.num_channels, *config.frame_size)
        kernel = (config.tubelet_size, config.patch_size, config.patch_size)
        self.proj = nn.Conv3d(config.num_channels, config.hidden_size, kernel_size=kernel, stride=kernel)
        repeats = config.patch_values // config.num_channels
        mean, std = torch.tensor(config.image_mean), torch.tensor(config.image_std)
        self.register_buffer("pixel_mean", mean.repeat(repeats), persistent=False)
        self.register_buffer("pixel_std", std.repeat(repeats), persistent=False)
        self.pixel_mean: Tensor
        self.pixel_std: Tensor

    def cut(self, clips: Tensor) -> Tensor:
        """Cut clips of this model's shape into patches: (B, T, C, H, W) to (B, N, P), dtype kept.

        Raises:
            ConfigError: The clips have another shape.
        """
        if clips.ndim != 5 or tuple(clips.shape[1:]) != self.clip_shape:
            raise ConfigError(
                where="clips",
                came=f"shape {tuple(clips.shape)}",
                expected=f"(B, T, C, H, W) = (B, {', '.join(map(str, self.clip_shape))})",
                todo="Resize the clips, or set num_frames, num_channels and image_size of the model.",
            )
        return patchify(clips, tubelet_size=self.tubelet_size, patch_size=self.patch_size)

    def normalise(self, patches: Tensor) -> Tensor:
        """Normalise uint8 patches (B, K, P) of 0..255 per channel into the weights' floating type."""
        return (patches.to(self.pixel_mean.dtype) / 255.0 - self.pixel_mean) / self.pixel_std

    def normalise_clips(self, clips: Tensor) -> Tensor:
        """Normalise whole clips: (B, T, C, H, W) of 0..255, uint8 or float, into the weights' type, same shape."""
        channels = clips.shape[2]  # fastest in a patch, so the first values are one of each
        mean, std = (values[:channels].view(-1, 1, 1) for values in (self.pixel_mean, self.pixel_std))
        return (clips.to(mean.dtype) / 255.0 - mean) / std

    def unit_range(self, patches: Tensor) -> Tensor:
        """Undo `normalise` up to the factor 255: normalised patches (B, K, P) back to pixels in [0, 1]."""
        return patches * self.pixel_std + self.pixel_mean

    def forward(self, patches: Tensor) -> Tensor:
        """Embed normalised patches: (B, K, P) to (B, K, D)."""
        weight = self.proj.weight.permute(0, 2, 3, 4, 1).flatten(1)
        return F.linear(patches, weight, self.proj.bias)
