"""Which frames a clip takes: pure functions of a frame count, a clip shape and a generator.

All return frame numbers in 0..num_frames-1, ready for `decode_frames`. A stride counts frames of the video
as it is stored. The published code has several samplings; each here says which one it matches.
"""

from __future__ import annotations

import numpy as np


def sample_window(num_frames: int, length: int, stride: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the window of a pretraining clip: `length` frames, `stride` apart, starting anywhere they fit.

    A video shorter than the window starts at 0 and repeats the last frame it can reach: 40 frames at stride
    4 give 0, 4, ..., 36, 36, ... (VideoMAE, official pretraining loader).

    Returns:
        int64 (length,), not falling.

    >>> sample_window(16, 6, 4, np.random.default_rng(0)).tolist()
    [0, 4, 8, 12, 12, 12]
    """
    start = _draw_start(num_frames, length * stride, rng)
    # A frame is only reached if the 1-based cursor stays below the count, hence num_frames - 2.
    last_step = max((num_frames - 2 - start) // stride, 0)
    return start + stride * np.minimum(np.arange(length, dtype=np.int64), last_step)


def _draw_start(num_frames: int, span: int, rng: np.random.Generator) -> int:
    return int(rng.integers(num_frames - span + 1)) if num_frames >= span else 0


def sample_dense_window(num_frames: int, length: int, stride: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the window of a fine-tuning clip: a span of length * stride frames, cut into `length` by linspace.

    The published spacing is (length * stride) / (length - 1), 64/15 and not 4 for 16 frames at stride 4,
    because linspace includes the span's end (VideoMAE, official classification loader, training mode).

    Returns:
        int64 (length,), not falling.
    """
    span = length * stride
    end = int(rng.integers(span, num_frames)) if num_frames > span else 0
    return _dense_indices(num_frames, length, stride, end)


def middle_dense_window(num_frames: int, length: int, stride: int) -> np.ndarray:
    """Take the dense window from the middle of the video, for validation while training (VideoMAE V2).

    Returns:
        int64 (length,), not falling.

    >>> middle_dense_window(64, 16, 4).tolist()
    [0, 4, 8, 12, 17, 21, 25, 29, 34, 38, 42, 46, 51, 55, 59, 63]
    """
    return _dense_indices(num_frames, length, stride, (length * stride + num_frames) // 2)


def _dense_indices(num_frames: int, length: int, stride: int, end: int) -> np.ndarray:
    """Cut [end - length * stride, end] by linspace; a video no longer than the span is cut whole and
    padded."""
    span = length * stride
    if num_frames > span:
        spaced = np.linspace(end - span, end, num=length)
        return np.clip(spaced, end - span, end - 1).astype(np.int64)
    spaced = np.linspace(0, num_frames, num=num_frames // stride)
    padded = np.concatenate([spaced, np.full(length - len(spaced), float(num_frames))])
    return np.clip(padded, 0, num_frames - 1).astype(np.int64)


def spread_windows(num_frames: int, length: int, stride: int, num_clips: int) -> np.ndarray:
    """Spread the test clips of a video evenly from its first to its last frame.

    The video is taken at the stride first, padded with its last such frame; clips start at evenly spaced
    places of that (VideoMAE, official test mode for Kinetics, UCF101 and HMDB51). A single clip, which the
    published code cannot do, comes from the middle.

    Returns:
        int64 (num_clips, length), not falling along the clip.

    >>> spread_windows(300, 16, 4, 5)[:, [0, -1]].tolist()
    [[0, 60], [56, 116], [116, 176], [176, 236], [236, 296]]
    """
    strided = np.arange(0, num_frames, stride, dtype=np.int64)
    strided = np.pad(strided, (0, max(length - len(strided), 0)), mode="edge")
    room = len(strided) - length
    starts = (
        [room // 2] if num_clips == 1 else [int(clip * (room / (num_clips - 1))) for clip in range(num_clips)]
    )
    return np.stack([strided[start : start + length] for start in starts])
