"""Cropping and resizing whole batches on the device, instead of clip by clip in the loader's workers.

The frames of all videos travel whole, padded to the largest of the micro-batch, and each clip's box and flip beside
them. On the device one matrix per clip and direction, built from its box, holds the filter of the resize: two batched
matrix products then cut, resize and mirror all clips of all sizes at once, without a host sync.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from videomae_train.data.transforms import Resampling
from videomae_train.types import Crops, LabeledBatch, PretrainBatch


def join_frames(frames: Sequence[Tensor]) -> Tensor:
    """Join frames of several videos, uint8 (F, T, H, W, C) each, to one tensor of the largest H and W.

    The padding is below and to the right, 0; no box reaches into it.
    """
    height, width = (max(clip.shape[dim] for clip in frames) for dim in (2, 3))
    return torch.cat([_padded(clip, height, width) for clip in frames])


def _padded(clip: Tensor, height: int, width: int) -> Tensor:
    below, right = height - clip.shape[2], width - clip.shape[3]
    return pad(clip, (0, 0, 0, right, 0, below)) if below or right else clip


class FrameMemory(NamedTuple):
    """Bytes of a micro-batch of whole frames.

    Attributes:
        frames: As they travel, and wait in the loader.
        resizing: On the device while they are cut, those included.
    """

    frames: int
    resizing: int


def most_memory(
    frame_sizes: np.ndarray, *, videos: int, num_frames: int, views: int, shared: bool
) -> FrameMemory:
    """Count the bytes of the largest micro-batch that these videos can make.

    Args:
        frame_sizes: Integer (n, 2): height and width of each video's frames.
        videos: Of a micro-batch.
        num_frames: Of a clip.
        views: Clips of a video.
        shared: Whether they are cut from the same frames.
    """
    height, width = (int(side) for side in frame_sizes.max(axis=0))
    clip = num_frames * height * width * 3
    frames = clip * videos * (1 if shared else views)
    return FrameMemory(frames, frames + clip * videos * views * 4)  # each view's frames as float32


Batch = TypeVar("Batch", bound=PretrainBatch | LabeledBatch)


def finish_crops(batch: Batch, size: int, resampling: Resampling) -> Batch:
    """Cut the clips of a batch that arrived on its device with whole frames; others pass as they are."""
    if batch.crops is None:
        return batch
    return batch._replace(clips=crop_batch(batch.clips, batch.crops, size, resampling), crops=None)


def crop_batch(frames: Tensor, crops: Crops, size: int, resampling: Resampling) -> Tensor:
    """Cut, resize and mirror all clips of a micro-batch, as `crop_and_resize` and `flip_clip` do one by one.

    Args:
        frames: uint8 (F, T, C, H, W), on any device.
        crops: Boxes and flips of B clips, on the same device, B a multiple of F; the first B / F are of the first
            frames.
        size: Side S of the result in pixels.
        resampling: Filter and type of the result, see `crop_and_resize`.

    Returns:
        (B, T, C, S, S), a view of (B, T, S, S, C) memory. "uint8_antialias": uint8, to the last bit what the CPU makes,
        unless a box shrinks more than fourfold (then a few pixels are one level off). "float_no_antialias": float32 of
        0..255.
    """
    antialias = resampling == "uint8_antialias"
    top, left, height, width = crops.boxes.double().view(-1, 4, 1, 1).unbind(1)
    down = _filter_matrix(frames.shape[-2], size, top, height, antialias=antialias)
    across = _filter_matrix(frames.shape[-1], size, left, width, antialias=antialias)
    across = torch.where(crops.flips.view(-1, 1, 1), across.flip(1), across)
    views = len(crops.flips) // len(frames)
    pixels = frames.to(torch.float32, memory_format=torch.contiguous_format)
    pixels = pixels if views == 1 else pixels.repeat_interleave(views, dim=0)
    with _whole_float32(frames.device.type):
        narrowed = _apply(across, pixels, antialias=antialias)
        resized = _apply(down, narrowed.transpose(-1, -2), antialias=antialias)
    resized = resized.to(torch.uint8) if antialias else resized
    return resized.permute(0, 1, 4, 3, 2).contiguous().permute(0, 1, 4, 2, 3)


def _filter_matrix(length: int, size: int, start: Tensor, extent: Tensor, *, antialias: bool) -> Tensor:
    """Make the matrices that take `length` pixels to `size`: float64 (B, size, length), rows of sum 1.

    Each row is a triangle around its place in the box [start, start + extent), cut off at the box's ends: as wide as a
    pixel of the result, where that is larger than one of the picture and antialiasing is asked for.

    Args:
        length: Pixels of the picture along this direction.
        size: Pixels of the result.
        start: Float64 (B, 1, 1), first pixel of each box.
        extent: Float64 (B, 1, 1), pixels of each box.
        antialias: Whether the triangle widens.
    """
    scale = extent / size
    reach = scale.clamp(min=1.0) if antialias else torch.ones_like(scale)
    results = torch.arange(size, device=start.device).view(-1, 1)
    pixels = torch.arange(length, device=start.device) - start
    weights = (1 - (pixels + 0.5 - scale * (results + 0.5)).abs() / reach).clamp(min=0.0)
    weights = weights * ((pixels >= 0) & (pixels < extent))
    return weights / weights.sum(-1, keepdim=True)


def _apply(matrices: Tensor, pixels: Tensor, *, antialias: bool) -> Tensor:
    """Filter the last dimension: float64 (B, S, L) and float32 (B, T, C, X, L) give float32 (B, T, C, X, S).

    With antialiasing the result is levels of 0..255, computed as torch does on the CPU for bytes: with weights of 15
    bits, as many after the point as the largest of them leaves, and one rounding at the end. Integers below 2**24 are
    exact in float32, in whatever order they are added up.
    """
    rows = pixels.flatten(1, 3)
    if not antialias:
        return (rows @ matrices.mT.float()).unflatten(1, pixels.shape[1:4])
    bits = torch.floor(torch.log2((2**15 - 0.5) / matrices.amax((1, 2), keepdim=True))).clamp(max=22)
    unit = torch.exp2(bits)
    weights, unit = torch.floor(matrices * unit + 0.5).float(), unit.float()
    levels = (torch.baddbmm(unit / 2, rows, weights.mT) / unit).floor_().clamp_(0, 255)
    return levels.unflatten(1, pixels.shape[1:4])


@contextmanager
def _whole_float32(device: str) -> Generator[None]:
    """Multiply matrices in all bits of float32, whatever autocast and the run's precision say."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
