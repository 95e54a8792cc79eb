"""What a set looks like in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from videomae_train.data.health.frames import frames_in_vain
from videomae_train.data.inspection import InspectedSet, InspectedVideo


@dataclass(frozen=True)
class Spread:
    """How a measure is spread over videos.

    Attributes:
        low: Smallest value.
        p05: Five of a hundred videos are at or below it.
        median: Half of the videos are at or below it.
        p95: Ninety-five of a hundred are at or below it.
        high: Largest value.
    """

    low: float
    p05: float
    median: float
    p95: float
    high: float


@dataclass(frozen=True)
class SetStatistics:
    """A set in numbers, of the videos that can be read; what was not looked at is None or empty.

    Attributes:
        num_videos: All videos, the faulty ones too.
        num_faults: Videos that cannot be used.
        num_frames: Of all videos.
        num_bytes: Of all videos.
        duration_sec: Playing time of all videos.
        durations_sec: Playing time of a video.
        frames: Frames of a video.
        short_sides: Pixels of the shorter side.
        keyframe_intervals: Most frames from one keyframe to the next.
        frames_in_vain: Frames decoded before a random window begins.
        rates: Frames per second, rounded to hundredths -> videos.
        sizes: "320x240" (width x height) -> videos.
        codecs: FFmpeg's name -> videos.
        pixel_formats: FFmpeg's name -> videos.
        rotations: Clockwise degrees -> videos.
        num_variable: Videos with any irregular gap between frames.
        num_audio: Videos with sound.
        classes: Class -> videos.
        parts: "split1/train" -> videos.
        causes: Cause of a fault -> videos.
    """

    num_videos: int
    num_faults: int
    num_frames: int
    num_bytes: int
    duration_sec: float
    durations_sec: Spread | None
    frames: Spread | None
    short_sides: Spread | None
    keyframe_intervals: Spread | None
    frames_in_vain: Spread | None
    rates: dict[str, int]
    sizes: dict[str, int]
    codecs: dict[str, int]
    pixel_formats: dict[str, int]
    rotations: dict[str, int]
    num_variable: int
    num_audio: int
    classes: dict[str, int]
    parts: dict[str, int]
    causes: dict[str, int]


def measure_set(inspected: InspectedSet) -> SetStatistics:
    """Measure a set."""
    usable = inspected.usable
    sized = [video for video in usable if video.num_frames]
    facts = [video.facts for video in usable if video.facts]
    labels = Counter(video.label for video in usable)
    durations = [seconds for video in sized if (seconds := duration_sec(video))]
    return SetStatistics(
        num_videos=len(inspected.videos),
        num_faults=len(inspected.videos) - len(usable),
        num_frames=sum(video.num_frames for video in usable),
        num_bytes=sum(video.num_bytes for video in usable),
        duration_sec=sum(durations),
        durations_sec=_spread(durations),
        frames=_spread(video.num_frames for video in sized),
        short_sides=_spread(min(video.height, video.width) for video in sized),
        keyframe_intervals=_spread(fact.keyframe_interval for fact in facts),
        frames_in_vain=_spread(frames_in_vain(video) for video in usable if video.facts),
        rates=_counted(f"{video.fps:.2f}".rstrip("0").rstrip(".") for video in sized),
        sizes=_counted(f"{video.width}x{video.height}" for video in sized),
        codecs=_counted(fact.codec for fact in facts),
        pixel_formats=_counted(fact.pixel_format for fact in facts),
        rotations=_counted(str(fact.rotation_deg) for fact in facts),
        num_variable=sum(fact.irregular_gap_ratio > 0 for fact in facts),
        num_audio=sum(fact.has_audio for fact in facts),
        classes={name: labels[label] for label, name in enumerate(inspected.classes)},
        parts=dict(sorted(Counter(_parts(inspected)).items())),
        causes=_counted(video.cause for video in inspected.videos if video.cause),
    )


def duration_sec(video: InspectedVideo) -> float:
    """Say how long a video plays: as its file states, else by frames and rate; 0.0 if neither is known."""
    if video.facts is not None:
        return video.facts.duration_sec
    return video.num_frames / video.fps if video.fps else 0.0


def _parts(inspected: InspectedSet) -> Iterable[str]:
    return (f"{split}/{part}" for video in inspected.usable for split, part in video.splits.items())


def _counted(values: Iterable[str]) -> dict[str, int]:
    """Count values, the most frequent first."""
    return dict(Counter(values).most_common())


def _spread(values: Iterable[float]) -> Spread | None:
    numbers = np.fromiter(values, dtype=np.float64)
    if len(numbers) == 0:
        return None
    return Spread(*(round(float(value), 4) for value in np.percentile(numbers, [0, 5, 50, 95, 100])))
