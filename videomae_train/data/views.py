"""From one video to its views: choose frames, decode once, crop each view.

Pure functions of the video's bytes, the options and the key of the sample. Views come out laid out as the
decoder writes frames: uint8 (R, T, S, S, C), RGB 0..255, S = size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from videomae_train.data.decoding import decode_frames
from videomae_train.data.erasing import sample_erase_box
from videomae_train.data.options import FinetuneDataOptions, PretrainDataOptions, ViewOptions
from videomae_train.data.randaugment import rand_augment
from videomae_train.data.sampling import (
    ShortVideos,
    first_window,
    interleaved_windows,
    middle_dense_window,
    middle_uniform_window,
    middle_window,
    sample_dense_window,
    sample_uniform_window,
    sample_window,
    spread_windows,
    stride_of_interval,
    window_span,
)
from videomae_train.data.transforms import (
    Resampling,
    as_clip,
    crop_and_resize,
    crop_views,
    flip_clip,
    sample_crop,
)
from videomae_train.randomness import keyed_rng
from videomae_train.types import Crops


class SampleKey(NamedTuple):
    """What all randomness about one sample is keyed by, besides view and purpose.

    Attributes:
        seed: The run's.
        epoch: Pass over the data set, from 0.
        dataset: Fingerprint of the data set.
        sample_id: Row of the data set's index.
    """

    seed: int
    epoch: int
    dataset: str
    sample_id: int

    def rng(self, view: int, purpose: str) -> np.random.Generator:
        """Make the generator of one choice about one view, counted from 0 among those of one decode.

        The purpose ("window", "crop", "mask" ...) keeps one more draw in one place from shifting another place's.
        """
        return keyed_rng(*self, view, purpose)


class Video(NamedTuple):
    """One video as it comes from a shard; fps is its average rate, 0.0 if unknown."""

    content: bytes
    num_frames: int
    fps: float
    where: str

    def decode(self, indices: np.ndarray) -> np.ndarray:
        """Decode frames, in ascending order: uint8 (T, H, W, C)."""
        return decode_frames(self.content, indices, where=self.where, num_frames=self.num_frames)


class Views(NamedTuple):
    """All training views of one video.

    Attributes:
        clips: uint8 or float32 of 0..255, (R, T, S, S, C); with `crops` whole frames uint8 (R, T, H, W, C), or
            (1, T, H, W, C) where all views are cut from the same ones.
        crops: What cropping on the device still has to do to make R clips; None where clips are done.
        erase_boxes: int64 (R, 4), see `types.LabeledBatch`; None without random erasing.
    """

    clips: Tensor
    crops: Crops | None
    erase_boxes: Tensor | None


def pretrain_views(video: Video, options: PretrainDataOptions, key: SampleKey, stride: int | None) -> Views:
    """Take one window, or several close to each other, and crop it `options.views` times.

    Args:
        video: Where the frames come from.
        options: How clips are made.
        key: Of all draws.
        stride: Of the video's set; None where the options count in seconds.
    """
    pace = _pace(video, stride, options.frame_interval_sec)
    span = window_span(options.num_frames, pace)
    clips = _decode_views(
        video, options, key, span, lambda count, rng: sample_window(count, options.num_frames, pace, rng)
    )
    return _cropped(clips, options, key, "uint8_antialias")


def finetune_views(video: Video, options: FinetuneDataOptions, key: SampleKey) -> Views:
    """Take a window and augment it `options.views` times: RandAugment on whole frames, crop, flip, a box to erase."""
    clips = _decode_views(video, options, key, *_window_sampler(video, options))
    if options.randaugment is not None:
        clips = [
            rand_augment(clip, options.randaugment, *key, view, "randaugment")
            for view, clip in enumerate(clips)
        ]
    views = _cropped(clips, options, key, options.crop_resampling)
    if options.erase_probability == 0:
        return views
    boxes = [
        sample_erase_box(options.size, options.size, options.erase_probability, key.rng(view, "erase"))
        for view in range(options.views)
    ]
    return views._replace(erase_boxes=torch.tensor(boxes))


WindowSampler = Callable[[int, np.random.Generator], np.ndarray]


def _window_sampler(video: Video, options: FinetuneDataOptions) -> tuple[int, WindowSampler]:
    """Say how many frames of the video a window stands for, and how it is drawn from so many frames."""
    length = options.num_frames
    if options.windows in ("uniform", "uniform_v1"):
        short: ShortVideos = "all_frames" if options.windows == "uniform" else "first_frame"
        return video.num_frames, lambda count, rng: sample_uniform_window(
            count, length, rng, short_videos=short
        )
    pace = _pace(video, options.stride, options.frame_interval_sec)
    sample = {"dense": sample_dense_window, "strided": sample_window}[options.windows]
    return window_span(length, pace), lambda count, rng: sample(count, length, pace, rng)


TrainingOptions = PretrainDataOptions | FinetuneDataOptions


def _pace(video: Video, stride: int | None, interval_sec: float | None) -> float:
    """Say how many frames of this video lie between two of the clip."""
    if interval_sec is not None:
        return stride_of_interval(interval_sec, video.fps)
    assert stride is not None, "the options were checked for a pace"
    return stride


def _decode_views(
    video: Video, options: TrainingOptions, key: SampleKey, span: int, sample: WindowSampler
) -> list[Tensor]:
    """Decode once what all views show: R clips uint8 (T, C, H, W), one and the same without jitter."""
    if options.view_jitter_frames == 0:
        window = sample(video.num_frames, key.rng(0, "window"))
        return [as_clip(video.decode(window))] * options.views
    room = max(min(options.view_jitter_frames, video.num_frames - span), 0)
    first = sample(video.num_frames - room, key.rng(0, "window"))
    starts = [key.rng(view, "jitter").integers(room + 1) for view in range(options.views)]
    frames, places = np.unique(first + np.array(starts)[:, None], return_inverse=True)
    decoded = video.decode(frames)
    return [as_clip(decoded[window]) for window in places.reshape(options.views, -1)]


def _cropped(
    clips: Sequence[Tensor], options: TrainingOptions, key: SampleKey, resampling: Resampling
) -> Views:
    """Crop and flip each view, or say how, for the device to do it."""
    height, width = clips[0].shape[-2:]
    boxes = [
        sample_crop(options.crop, height, width, options.size, key.rng(view, "crop"))
        for view in range(options.views)
    ]
    flips = [options.flip and key.rng(view, "flip").random() < 0.5 for view in range(options.views)]
    if options.crop_on == "device":
        # Views of the same frames share them: these cross to the device once.
        whole = clips[:1] if all(clip is clips[0] for clip in clips) else clips
        return Views(_stack(whole), Crops(torch.tensor(boxes), torch.tensor(flips)), None)
    cut = [
        crop_and_resize(clip, box, options.size, resampling) for clip, box in zip(clips, boxes, strict=True)
    ]
    flipped = [flip_clip(clip) if flip else clip for clip, flip in zip(cut, flips, strict=True)]
    return Views(_stack(flipped), None, None)


def _stack(clips: Sequence[Tensor]) -> Tensor:
    return torch.stack([clip.permute(0, 2, 3, 1) for clip in clips])


def evaluation_views(video: Video, options: ViewOptions) -> Tensor:
    """Take all test views of a video; each frame is decoded and resized once.

    Returns:
        uint8 (R, T, S, S, C), R = num_clips * num_crops, all crops of a clip next to each other.
    """
    windows = evaluation_windows(video, options)
    frames, places = np.unique(windows, return_inverse=True)
    clip = as_clip(video.decode(frames))
    crops = crop_views(clip, options.size, options.num_crops, antialias=options.antialias)
    pictures = crops.permute(0, 1, 3, 4, 2).flatten(0, 1)  # of the first crop all frames, then of the next
    firsts = len(frames) * torch.arange(options.num_crops)[:, None]
    picked = torch.from_numpy(places.reshape(windows.shape))[:, None] + firsts  # (num_clips, num_crops, T)
    return pictures.index_select(0, picked.flatten()).unflatten(0, (-1, windows.shape[-1]))


def evaluation_windows(video: Video, options: ViewOptions) -> np.ndarray:
    """List the frames of each test clip, int64 (num_clips, T)."""
    num_frames, length = video.num_frames, options.num_frames
    if options.windows == "interleaved":
        return interleaved_windows(num_frames, length, options.num_clips)
    if options.windows == "middle_uniform":
        return middle_uniform_window(num_frames, length)[None]
    pace = _pace(video, options.stride, options.frame_interval_sec)
    if options.windows == "spread":
        return spread_windows(num_frames, length, pace, options.num_clips)
    single = {
        "first": first_window,
        "middle_dense": middle_dense_window,
        "middle_strided": middle_window,
    }[options.windows]
    return single(num_frames, length, pace)[None]
