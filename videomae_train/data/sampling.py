"""Which frames a clip takes: pure functions of a frame count, a clip shape and a generator.

All return frame numbers in 0..num_frames-1, ready for `decode_frames`. A stride is the distance between a clip's
frames, counted in frames of the video as it is stored; it need not be a whole number (`stride_of_interval`), and then
each frame of the clip is the nearest of the video. The published code has several samplings; each here says which one
it matches.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from videomae_train.errors import ConfigError

ShortVideos = Literal["first_frame", "all_frames"]


def stride_of_interval(interval_sec: float, fps: float) -> float:
    """Count the frames between two moments, for clips whose pace is stated in seconds.

    The rate is the video's average: a file of variable rate is treated as if its frames were evenly spread.

    Args:
        interval_sec: Seconds between two frames of a clip.
        fps: Frames of the video per second.

    Raises:
        ConfigError: The rate is unknown (0).

    >>> stride_of_interval(0.16, 25.0), stride_of_interval(0.16, 30.0)
    (4.0, 4.8)
    """
    if not fps > 0:
        raise ConfigError(
            where="data.frame_interval_sec",
            came=f"a video of {fps} frames per second",
            expected="videos whose index states their rate",
            todo="Give data.stride in frames instead, or pack files that state a rate.",
        )
    # Six digits: 0.16 s of a rate stored in 32 bits shall be 4 frames, not 4.0000001 and a span of one frame more.
    return round(interval_sec * fps, 6)


def sample_window(num_frames: int, length: int, stride: float, rng: np.random.Generator) -> np.ndarray:
    """Draw the window of a pretraining clip: `length` frames, `stride` apart, starting anywhere they fit.

    A video shorter than the window starts at 0 and repeats the last frame it can reach: 40 frames at stride
    4 give 0, 4, ..., 36, 36, ... (VideoMAE, official pretraining loader).

    Returns:
        int64 (length,), not falling.

    >>> sample_window(16, 6, 4, np.random.default_rng(0)).tolist()
    [0, 4, 8, 12, 12, 12]
    """
    room = num_frames - window_span(length, stride)
    return _strided_indices(num_frames, length, stride, int(rng.integers(room + 1)) if room >= 0 else 0)


def middle_window(num_frames: int, length: int, stride: float) -> np.ndarray:
    """Take the window of `sample_window` from the middle of the video.

    Returns:
        int64 (length,), not falling.
    """
    return _strided_indices(num_frames, length, stride, max(num_frames - window_span(length, stride), 0) // 2)


def first_window(num_frames: int, length: int, stride: float) -> np.ndarray:
    """Take the first length * stride frames, both ends included, as transformers' pipeline does with PyAV.

    Returns:
        int64 (length,), not falling; the last frame is repeated where the video is shorter.

    >>> first_window(300, 16, 4)[[0, 1, 4, -1]].tolist()
    [0, 4, 16, 63]
    """
    spaced = np.linspace(0, window_span(length, stride) - 1, num=length).astype(np.int64)
    return np.minimum(spaced, num_frames - 1)


def window_span(length: int, stride: float) -> int:
    """Count the frames of the video that a window of `length` frames, `stride` apart, stands for."""
    return math.ceil(length * stride)


def _strided_indices(num_frames: int, length: int, stride: float, start: int) -> np.ndarray:
    # A frame is only reached if the 1-based cursor stays below the count, hence num_frames - 2.
    last_step = max((num_frames - 2 - start) // stride, 0)
    steps = np.minimum(np.arange(length), last_step)
    return start + np.rint(steps * stride).astype(np.int64)


def sample_dense_window(num_frames: int, length: int, stride: float, rng: np.random.Generator) -> np.ndarray:
    """Draw the window of a fine-tuning clip: a span of length * stride frames, cut into `length` by linspace.

    The published spacing is (length * stride) / (length - 1), 64/15 and not 4 for 16 frames at stride 4,
    because linspace includes the span's end (VideoMAE, official classification loader, training mode).
    `sample_window` keeps the stride.

    Returns:
        int64 (length,), not falling.
    """
    span = window_span(length, stride)
    end = int(rng.integers(span, num_frames)) if num_frames > span else 0
    return _dense_indices(num_frames, length, stride, end)


def middle_dense_window(num_frames: int, length: int, stride: float) -> np.ndarray:
    """Take the dense window from the middle of the video, for validation while training (VideoMAE V2).

    Returns:
        int64 (length,), not falling.

    >>> middle_dense_window(64, 16, 4).tolist()
    [0, 4, 8, 12, 17, 21, 25, 29, 34, 38, 42, 46, 51, 55, 59, 63]
    """
    return _dense_indices(num_frames, length, stride, (window_span(length, stride) + num_frames) // 2)


def _dense_indices(num_frames: int, length: int, stride: float, end: int) -> np.ndarray:
    """Cut [end - length * stride, end] by linspace; a video no longer than the span is cut whole and padded."""
    span = window_span(length, stride)
    if num_frames > span:
        spaced = np.linspace(end - span, end, num=length)
        return np.clip(spaced, end - span, end - 1).astype(np.int64)
    spaced = np.linspace(0, num_frames, num=min(int(num_frames // stride), length))
    padded = np.concatenate([spaced, np.full(length - len(spaced), float(num_frames))])
    return np.clip(padded, 0, num_frames - 1).astype(np.int64)


def sample_uniform_window(
    num_frames: int, length: int, rng: np.random.Generator, *, short_videos: ShortVideos
) -> np.ndarray:
    """Draw one frame from each of `length` equal parts of the video (TSN, section 3.1; Something-Something).

    The num_frames % length frames after the last part are never taken, as published.

    Args:
        num_frames: Frames of the video.
        length: Frames of the clip.
        rng: The only source of randomness.
        short_videos: Of fewer frames than the clip: "first_frame" repeats frame 0 alone (VideoMAE), "all_frames"
            repeats it in front of all others (VideoMAE V2).

    Returns:
        int64 (length,), not falling.
    """
    if num_frames < length:
        return _short_uniform(num_frames, length, short_videos)
    part = num_frames // length
    return np.arange(length) * part + rng.integers(part, size=length)


def middle_uniform_window(num_frames: int, length: int) -> np.ndarray:
    """Take the middle frame of each of `length` equal parts, for validation while training (VideoMAE V2).

    Returns:
        int64 (length,), not falling.

    >>> middle_uniform_window(50, 16)[:4].tolist()
    [1, 4, 7, 10]
    """
    if num_frames < length:
        return _short_uniform(num_frames, length, "all_frames")
    part = num_frames // length
    return np.arange(length) * part + part // 2


def _short_uniform(num_frames: int, length: int, short_videos: ShortVideos) -> np.ndarray:
    last = {"first_frame": 0, "all_frames": num_frames - 1}[short_videos]
    return np.clip(np.arange(length) - (length - num_frames), 0, last)


def spread_windows(num_frames: int, length: int, stride: float, num_clips: int) -> np.ndarray:
    """Spread the test clips of a video evenly from its first to its last frame.

    The video is taken at the stride first, padded with its last such frame; clips start at evenly spaced
    places of that (VideoMAE, official test mode for Kinetics, UCF101 and HMDB51). A single clip, which the
    published code cannot do, comes from the middle.

    Returns:
        int64 (num_clips, length), not falling along the clip.

    >>> spread_windows(300, 16, 4, 5)[:, [0, -1]].tolist()
    [[0, 60], [56, 116], [116, 176], [176, 236], [236, 296]]
    """
    # Up to half a frame before the end, so that nothing is rounded past the last frame.
    strided = np.rint(np.arange(0, num_frames - 0.5, stride)).astype(np.int64)
    strided = np.pad(strided, (0, max(length - len(strided), 0)), mode="edge")
    room = len(strided) - length
    starts = (
        [room // 2] if num_clips == 1 else [int(clip * (room / (num_clips - 1))) for clip in range(num_clips)]
    )
    return np.stack([strided[start : start + length] for start in starts])


def interleaved_windows(num_frames: int, length: int, num_clips: int) -> np.ndarray:
    """Take `length` frames over the whole video for each test clip, each clip a little later than the one before.

    With the tick num_frames / length, clip c of n takes int(tick * c / n + tick * x), x = 0 .. length - 1. For two
    clips that is the published list, whose frames go to the clips in turn (VideoMAE, official test mode for
    Something-Something).

    Returns:
        int64 (num_clips, length), not falling along the clip.

    >>> interleaved_windows(50, 16, 2)[:, :4].tolist()
    [[0, 3, 6, 9], [1, 4, 7, 10]]
    """
    tick = num_frames / length
    shifts = tick * np.arange(num_clips)[:, None] / num_clips
    return (shifts + tick * np.arange(length)).astype(np.int64)
