"""Tiny pictures of a video, which tell whether it moves and whether another one shows the same."""

from __future__ import annotations

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation

from videomae_train.data.container import quarter_turns

THUMBNAIL_SIDE = 16
NUM_THUMBNAILS = 5
# Means over a tenth of a video: a copy that lost a frame or two at an end still gives nearly the same ones.
_WINDOW_RATIO = 0.1
# Tuned on UCF101: 63 original clips and all 394 of their three classes re-encoded at half the size. 58 of the 63
# copies are found (the others lost a frame amid fast motion); of 100,000 pairs of different clips, many of them from
# one camera, none is.
_MAX_CELL_DIFFERENCE = 10
_MAX_MEAN_DIFFERENCE = 2.5


class ThumbnailStack:
    """The brightness of every frame on a grid of 16 x 16 cells, each the mean of its pixels.

    Means over so many pixels are hardly touched by encoding or size; what moves changes them.
    """

    def __init__(self) -> None:
        self._frames: list[np.ndarray] = []

    def add(self, frame: VideoFrame) -> None:
        """Take the next frame, upright."""
        side = THUMBNAIL_SIDE
        small = frame.reformat(side, side, "gray", interpolation=Interpolation.AREA, threads=1)
        self._frames.append(np.rot90(small.to_ndarray(), k=quarter_turns(frame)))

    def picked(self) -> bytes:
        """Give the mean brightness of five tenths of the video, centred in its fifths: uint8 (5, 16, 16), as bytes."""
        frames = np.stack(self._frames)
        half = max(1, round(len(frames) * _WINDOW_RATIO / 2))
        middles = [(2 * fifth + 1) * len(frames) // (2 * NUM_THUMBNAILS) for fifth in range(NUM_THUMBNAILS)]
        means = [frames[max(0, middle - half) : middle + half + 1].mean(axis=0) for middle in middles]
        return np.stack(means).round().astype(np.uint8).tobytes()

    def still_ratio(self) -> float:
        """Say which share of the frames show what the frame before shows: no cell differs by more than one level.

        Returns:
            In [0, 1]; 1.0 for a single frame.
        """
        if len(self._frames) < 2:
            return 1.0
        frames = np.stack(self._frames).astype(np.int16)
        return float(np.mean(np.abs(np.diff(frames, axis=0)).max(axis=(1, 2)) <= 1))


def find_lookalikes(thumbnails: list[bytes]) -> list[list[int]]:
    """Find videos that show nearly the same pictures at the same places of their length.

    Two are alike if no cell of their thumbnails (`ThumbnailStack.picked`) differs by more than 10 of 255 levels, and
    no thumbnail's mean by more than 2.5. Re-encoded, resized and remuxed copies are; clips of one camera in which
    something moves differently are not. Cropped, mirrored and shortened copies are not found.

    Only videos of about the same brightness are compared, which leaves a few hundredths of all pairs: seconds for
    ten thousand videos, minutes for a quarter of a million.

    Args:
        thumbnails: Of each video.

    Returns:
        Groups of two or more places in the list, rising; a video is in one group at most.
    """
    if not thumbnails:
        return []
    cells = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(len(thumbnails), NUM_THUMBNAILS, -1)
    means = cells.mean(axis=2, dtype=np.float32)
    order = np.argsort(means.mean(axis=1), kind="stable")
    cells, means = cells[order], means[order]
    ends = np.searchsorted(brightness := means.mean(axis=1), brightness + _MAX_MEAN_DIFFERENCE, side="right")
    is_free = np.ones(len(order), dtype=bool)
    groups: list[list[int]] = []
    for place, end in enumerate(ends.tolist()):
        if is_free[place]:
            alike = (
                place + 1 + _alike(cells[place], means[place], cells[place + 1 : end], means[place + 1 : end])
            )
            alike = alike[is_free[alike]]
            is_free[alike] = False
            if len(alike):
                groups.append(sorted(order[[place, *alike]].tolist()))
    return sorted(groups)


def _alike(cells: np.ndarray, means: np.ndarray, others: np.ndarray, their_means: np.ndarray) -> np.ndarray:
    """Say which of the others look like a video; their places."""
    near = np.flatnonzero(np.abs(their_means - means).max(axis=1, initial=0.0) <= _MAX_MEAN_DIFFERENCE)
    differences = np.abs(others[near].astype(np.int16) - cells).max(axis=(1, 2), initial=0)
    return near[differences <= _MAX_CELL_DIFFERENCE]
