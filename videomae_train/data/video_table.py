"""What every source of training videos can be asked: one packed set, or several joined."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import numpy as np


class VideoNames(Protocol):
    """What a message needs to know of a video, by its sample id."""

    def key(self, sample_id: int) -> str:
        """Name a video within its set."""
        ...

    def shard(self, sample_id: int) -> str:
        """Name the shard file that holds a video."""
        ...

    def where(self, sample_id: int) -> str:
        """Say where a video is, for messages."""
        ...


class VideoTable(VideoNames, Protocol):
    """What is known of the videos of a set, or of several, and how to read them, each by its sample id."""

    @property
    def num_videos(self) -> int:
        """Videos, numbered from 0."""
        ...

    @property
    def title(self) -> str:
        """Where the videos are, for messages."""
        ...

    @cached_property
    def shard_numbers(self) -> np.ndarray:
        """Integer (num_videos,): each video's shard."""
        ...

    @cached_property
    def labels(self) -> np.ndarray:
        """int32 (num_videos,): class numbers, -1 where there is none."""
        ...

    @cached_property
    def num_frames(self) -> np.ndarray:
        """int32 (num_videos,): frames of each video."""
        ...

    @cached_property
    def fps(self) -> np.ndarray:
        """float32 (num_videos,): average frames per second of each video, 0 where the file states none."""
        ...

    @cached_property
    def frame_sizes(self) -> np.ndarray:
        """int32 (num_videos, 2): height and width of each video's frames, upright."""
        ...

    def set_name(self, sample_id: int) -> str:
        """Name the set of a video; "" where there is only one."""
        ...

    def read_bytes(self, sample_id: int) -> bytes:
        """Read a video's bytes."""
        ...

    def expect(self, sample_id: int) -> None:
        """Say that a video will be read soon."""
        ...
