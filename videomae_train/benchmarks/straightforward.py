"""The loader that most people write first: what ours is measured against.

It decodes each file from its beginning to the last frame of the window, turns the wanted frames into PIL images,
crops and resizes them one by one and stacks normalised floats.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from videomae_train.data.sampling import sample_window
from videomae_train.data.transforms import sample_corner_crop

_MEAN, _STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


@dataclass(frozen=True)
class ClipShape:
    """What a clip is: frames, frames of the video between two of them, side in pixels."""

    num_frames: int
    stride: int
    size: int


@dataclass(frozen=True)
class StageSeconds:
    """Processor seconds of one clip, or of many, by what they went into."""

    read: float
    decode: float
    transform: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.read + self.decode + self.transform


def load_clip(file: Path, num_frames: int, shape: ClipShape, seed: int) -> tuple[Tensor, StageSeconds]:
    """Load one random clip.

    Args:
        file: The video.
        num_frames: Its frames.
        shape: Of the clip.
        seed: Decides window and crop.

    Returns:
        float32 (T, C, S, S), normalised, and what it cost.
    """
    rng = np.random.default_rng(seed)
    window = sample_window(num_frames, shape.num_frames, shape.stride, rng)
    began = time.process_time()
    images = _decode_from_the_start(file, window.tolist())
    decoded = time.process_time()
    clip = _crop_each(images, shape.size, rng)
    return clip, StageSeconds(0.0, decoded - began, time.process_time() - decoded)


def _decode_from_the_start(file: Path, window: Sequence[int]) -> list[Image.Image]:
    wanted, last = set(window), max(window)
    images: dict[int, Image.Image] = {}
    with av.open(str(file)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                images[number] = cast(Any, frame).to_image()
            if number == last:
                break
    return [images[number] for number in window]


def _crop_each(images: Sequence[Image.Image], size: int, rng: np.random.Generator) -> Tensor:
    width, height = images[0].size
    top, left, box_height, box_width = sample_corner_crop(height, width, size, rng)
    box = (left, top, left + box_width, top + box_height)
    frames = [
        torch.from_numpy(np.array(image.crop(box).resize((size, size), Image.Resampling.BILINEAR)))
        for image in images
    ]
    pixels = torch.stack([frame.permute(2, 0, 1).float() / 255 for frame in frames])
    return (pixels - _MEAN[:, None, None]) / _STD[:, None, None]
