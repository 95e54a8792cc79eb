"""From one video to its views: choose frames, decode once, crop each view.

Pure functions of the video's bytes, the options and the key of the sample. Views come out laid out as the
decoder writes frames: uint8 (R, T, S, S, C), RGB 0..255, S = size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from videomae_train.data.decoding import decode_frames
from videomae_train.data.options import EvaluationDataOptions, FinetuneDataOptions, PretrainDataOptions
from videomae_train.data.sampling import (
    middle_dense_window,
    sample_dense_window,
    sample_window,
    spread_windows,
)
from videomae_train.data.transforms import (
    CropKind,
    as_clip,
    augment_colours_and_shape,
    crop_and_resize,
    crop_views,
    flip_clip,
    sample_crop,
)
from videomae_train.randomness import sample_rng


class SampleKey(NamedTuple):
    """What all randomness about one sample is keyed by, besides view and purpose."""

    seed: int
    epoch: int
    dataset: str
    sample_id: int

    def rng(self, view: int, purpose: str) -> np.random.Generator:
        """Make the generator of one choice about one view."""
        return sample_rng(
            seed=self.seed,
            epoch=self.epoch,
            dataset=self.dataset,
            sample_id=self.sample_id,
            view=view,
            purpose=purpose,
        )


class Video(NamedTuple):
    """One video as it comes from a shard."""

    content: bytes
    num_frames: int
    where: str

    def decode(self, indices: np.ndarray) -> Tensor:
        """Decode frames to a clip uint8 (T, C, H, W)."""
        return as_clip(decode_frames(self.content, indices, where=self.where, num_frames=self.num_frames))


def pretrain_views(video: Video, options: PretrainDataOptions, key: SampleKey, stride: int) -> Tensor:
    """Take one window, its frames `stride` apart, and crop it `options.views` times.

    Returns:
        uint8 (R, T, S, S, C).
    """
    window = sample_window(video.num_frames, options.num_frames, stride, key.rng(0, "window"))
    clip = video.decode(window)
    return _stack_views(
        lambda view: _cropped(clip, options.crop, options.flip, options.size, key, view), options.views
    )


def finetune_views(video: Video, options: FinetuneDataOptions, key: SampleKey) -> Tensor:
    """Take one dense window and augment it `options.views` times: RandAugment on whole frames, crop, flip.

    Returns:
        uint8 (R, T, S, S, C).
    """
    window = sample_dense_window(video.num_frames, options.num_frames, options.stride, key.rng(0, "window"))
    clip = video.decode(window)

    def one_view(view: int) -> Tensor:
        augmented = augment_colours_and_shape(
            clip, options.randaugment_num_ops, options.randaugment_magnitude, *key, view, "randaugment"
        )
        return _cropped(augmented, options.crop, options.flip, options.size, key, view)

    return _stack_views(one_view, options.views)


def _cropped(clip: Tensor, crop: CropKind, flip: bool, size: int, key: SampleKey, view: int) -> Tensor:
    height, width = clip.shape[-2:]
    cropped = crop_and_resize(clip, sample_crop(crop, height, width, size, key.rng(view, "crop")), size)
    return flip_clip(cropped) if flip and key.rng(view, "flip").random() < 0.5 else cropped


def _stack_views(one_view: Callable[[int], Tensor], num_views: int) -> Tensor:
    return torch.stack([one_view(view).permute(0, 2, 3, 1) for view in range(num_views)])


def evaluation_views(video: Video, options: EvaluationDataOptions) -> Tensor:
    """Take all test views of a video; each frame is decoded and resized once.

    Returns:
        uint8 (R, T, S, S, C), R = num_clips * num_crops, all crops of a clip next to each other.
    """
    windows = evaluation_windows(video.num_frames, options)
    frames, places = np.unique(windows, return_inverse=True)
    crops = crop_views(video.decode(frames), options.size, options.num_crops)
    picked = crops[:, torch.from_numpy(places.reshape(windows.shape))]
    num_views = options.num_clips * options.num_crops
    return picked.permute(1, 0, 2, 4, 5, 3).reshape(
        num_views, *windows.shape[1:], options.size, options.size, 3
    )


def evaluation_windows(num_frames: int, options: EvaluationDataOptions) -> np.ndarray:
    """List the frames of each test clip, int64 (num_clips, T)."""
    if options.windows == "middle_dense":
        return middle_dense_window(num_frames, options.num_frames, options.stride)[None]
    return spread_windows(num_frames, options.num_frames, options.stride, options.num_clips)
