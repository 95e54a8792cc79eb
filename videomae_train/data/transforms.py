"""Crops and flips: boxes are drawn by pure functions, pixels are moved by torchvision.

A clip is a uint8 tensor (T, C, H, W) that views memory laid out (T, H, W, C), as the decoder writes it:
torchvision's resize takes its fast path on it, three times as quick as on the contiguous layout, and needs
no copy before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

CropKind = Literal["multi_scale_corner", "random_resized", "centre"]
Resampling = Literal["uint8_antialias", "float_no_antialias"]

_CORNER_CROP_SCALES = (1.0, 0.875, 0.75, 0.66)
# Offsets of a corner crop, in quarters of the free room (down, right): corners, centre, edge centres,
# quarter points.
_CORNER_CROP_PLACES = (
    *((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)),
    *((2, 0), (2, 4), (4, 2), (0, 2)),
    *((1, 1), (1, 3), (3, 1), (3, 3)),
)


class Box(NamedTuple):
    """A part of the picture, in pixels."""

    top: int
    left: int
    height: int
    width: int


def as_clip(frames: np.ndarray) -> Tensor:
    """View decoded frames uint8 (T, H, W, C) as a clip uint8 (T, C, H, W), without a copy."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


def sample_crop(kind: CropKind, height: int, width: int, size: int, rng: np.random.Generator) -> Box:
    """Draw the box that a clip of this height and width is cropped to before it is resized to `size`."""
    match kind:
        case "multi_scale_corner":
            return sample_corner_crop(height, width, size, rng)
        case "random_resized":
            return sample_resized_crop(height, width, rng)
        case "centre":
            side = min(height, width)
            return Box((height - side) // 2, (width - side) // 2, side, side)


def sample_corner_crop(height: int, width: int, size: int, rng: np.random.Generator) -> Box:
    """Draw a multi-scale corner crop: one of 10 sizes at one of 13 fixed places.

    Height and width are each the short side times 1, 0.875, 0.75 or 0.66, at most one step of the scale
    apart; a side within 3 pixels of the target snaps to it where it fits (TSN, section 4.1; VideoMAE,
    official pretraining augmentation, the only one there besides masking).
    """
    short = min(height, width)
    sides = [int(short * scale) for scale in _CORNER_CROP_SCALES]
    sides = [size if abs(side - size) < 3 and size <= short else side for side in sides]
    pairs = [(h, w) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= 1]
    crop_height, crop_width = pairs[int(rng.integers(len(pairs)))]
    down, right = _CORNER_CROP_PLACES[int(rng.integers(len(_CORNER_CROP_PLACES)))]
    top, left = down * ((height - crop_height) // 4), right * ((width - crop_width) // 4)
    return Box(top, left, crop_height, crop_width)


def sample_resized_crop(
    height: int,
    width: int,
    rng: np.random.Generator,
    *,
    area: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (0.75, 4 / 3),
) -> Box:
    """Draw a box of random area and shape (Inception crop).

    Args:
        height: Pixels of the picture.
        width: Pixels of the picture.
        rng: The only source of randomness.
        area: Share of the picture's area, uniform between these, each in (0, 1].
        ratio: Width / height, log-uniform between these.

    Returns:
        The first of 10 tries that fits, else the largest centred box with an allowed ratio.
    """
    for crop_width, crop_height in random_sizes(height, width, rng, area=area, ratio=ratio):
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(rng.integers(height - crop_height + 1))
            left = int(rng.integers(width - crop_width + 1))
            return Box(top, left, crop_height, crop_width)
    return _centre_box(height, width, ratio)


def random_sizes(
    height: int,
    width: int,
    rng: np.random.Generator,
    *,
    area: tuple[float, float],
    ratio: tuple[float, float],
) -> Iterator[tuple[int, int]]:
    """Draw the sizes that a random box tries, up to 10, each when it is asked for.

    Yields:
        Width and height in pixels, not necessarily inside the picture; area uniform, shape (width / height)
        log-uniform.
    """
    for _ in range(10):
        target = height * width * rng.uniform(*area)
        shape = float(np.exp(rng.uniform(np.log(ratio[0]), np.log(ratio[1]))))
        yield round((target * shape) ** 0.5), round((target / shape) ** 0.5)


def _centre_box(height: int, width: int, ratio: tuple[float, float]) -> Box:
    shape = min(max(width / height, ratio[0]), ratio[1])
    crop_width, crop_height = min(width, round(height * shape)), min(height, round(width / shape))
    return Box((height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width)


def crop_and_resize(clip: Tensor, box: Box, size: int, resampling: Resampling = "uint8_antialias") -> Tensor:
    """Cut a box and resize it.

    "uint8_antialias" is bilinear and antialiased as PIL does (mean difference 0.01 of 255): the published pretraining
    crop. "float_no_antialias" is bilinear between the four nearest pixels and rounds nothing: the published fine-tuning
    crop, which works on normalised pixels; interpolation and normalisation are linear, so that their order does not
    matter.

    Args:
        clip: uint8 (T, C, H, W).
        box: The part to keep.
        size: Side of the result in pixels.
        resampling: Filter and type of the result.

    Returns:
        uint8, or float32 of 0..255, (T, C, size, size), a view of (T, size, size, C) memory.
    """
    cut = F.crop(clip, *box)
    if resampling == "float_no_antialias":
        resized = interpolate(
            cut.float(), (size, size), mode="bilinear", align_corners=False, antialias=False
        )
    else:
        resized = F.resize(cut, [size, size], InterpolationMode.BILINEAR, antialias=True)
    return resized.contiguous(memory_format=torch.channels_last)


def flip_clip(clip: Tensor) -> Tensor:
    """Mirror a clip left to right; keeps the memory layout."""
    return clip.flip(-1).contiguous(memory_format=torch.channels_last)


def crop_views(clip: Tensor, size: int, num_crops: int, *, antialias: bool = True) -> Tensor:
    """Resize the short side to `size` and cut square crops spread along the long side, for evaluation.

    One crop is the centre; three are both ends and the centre (VideoMAE, official test mode).

    Args:
        clip: uint8 (T, C, H, W).
        size: Side of a crop in pixels.
        num_crops: Crops along the longer side, at least 1.
        antialias: False as published (cv2).

    Returns:
        uint8 (num_crops, T, C, size, size), a view of (num_crops, T, size, size, C) memory.
    """
    height, width = clip.shape[-2:]
    short = min(height, width)
    resized_height, resized_width = int(height * size / short), int(width * size / short)
    resized = F.resize(clip, [resized_height, resized_width], InterpolationMode.BILINEAR, antialias=antialias)
    room = max(resized_height, resized_width) - size
    starts = [room // 2] if num_crops == 1 else [int(k * room / (num_crops - 1)) for k in range(num_crops)]
    dim = -2 if resized_height > resized_width else -1
    # Rows of pixels are copied as they lie; a stack of (T, C, size, size) would turn each of them into planes and back.
    crops = [resized.narrow(dim, start, size).permute(0, 2, 3, 1) for start in starts]
    return torch.stack(crops).permute(0, 1, 4, 2, 3)
