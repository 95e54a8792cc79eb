"""What a finding is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from videomae_train.data.inspection import InspectedVideo


class Severity(StrEnum):
    """How bad a finding is.

    ERROR: training would fail, or its score could not be believed. WARNING: it costs time or quality, or needs a
    look. NOTE: good to know.
    """

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """One thing that a user should know before training.

    Attributes:
        name: Stable, for programs: "short-videos".
        severity: How bad it is.
        text: What was found, with numbers, and what it does.
        todo: What to do about it; may be empty.
        videos: Names of the videos it is about, where they can be named.
    """

    name: str
    severity: Severity
    text: str
    todo: str = ""
    videos: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ClipShape:
    """The clips that a run will take; defaults are the published ones for Kinetics-400 and UCF101.

    Attributes:
        num_frames: Frames of a clip.
        stride: Frames of the video from one frame of the clip to the next.
        size: Side of a clip in pixels.
    """

    num_frames: int = 16
    stride: int = 4
    size: int = 224

    @property
    def span(self) -> int:
        """Frames of the video that a clip stretches over."""
        return self.num_frames * self.stride


def names_of(videos: Iterable[InspectedVideo]) -> tuple[str, ...]:
    """List the names of videos."""
    return tuple(video.name for video in videos)


def share_of(part: int, whole: int) -> str:
    """Write a count and its share.

    >>> share_of(3, 400)
    '3 of 400 videos (0.8 %)'
    """
    return f"{part} of {whole} videos ({100 * part / max(1, whole):.1f} %)"
