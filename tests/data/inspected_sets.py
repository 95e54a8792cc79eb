"""Sets of imagined videos, for tests of what is said about them."""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b

import numpy as np

from videomae_train.data.decoding import VideoFacts
from videomae_train.data.health import ClipShape, Finding, Severity, diagnose
from videomae_train.data.inspection import InspectedSet, InspectedVideo

FACTS = VideoFacts(
    num_frames=200,
    fps=25.0,
    duration_sec=8.0,
    height=256,
    width=340,
    codec="h264",
    keyframe_interval=16,
    num_damaged_frames=0,
    irregular_gap_ratio=0.0,
    is_seekable=True,
    pixel_format="yuv420p",
    rotation_deg=0,
    has_audio=False,
)


def video(
    name: str, label: int = 0, part: str = "", *, content: str = "", cause: str = "", **facts: object
) -> InspectedVideo:
    """A good video, but for what is said; equal `content` means equal bytes."""
    seen = replace(FACTS, **facts)
    digest = blake2b((content or name).encode(), digest_size=16).digest()
    noise = np.random.default_rng(list(digest)).integers(0, 255, 5 * 256)
    return InspectedVideo(
        name=name,
        label=label,
        splits={"split1": part} if part else {},
        num_bytes=1000,
        checksum=digest,
        num_frames=seen.num_frames,
        fps=seen.fps,
        height=seen.height,
        width=seen.width,
        facts=seen,
        thumbnails=noise.astype(np.uint8).tobytes(),
        cause=cause,
        detail=cause and f"{name}: {cause}",
    )


def set_of(
    *videos: InspectedVideo, classes: tuple[str, ...] = ("run", "walk"), is_packed: bool = False
) -> InspectedSet:
    return InspectedSet("videos", is_packed, True, classes, videos)


def good_videos(count: int = 100) -> list[InspectedVideo]:
    """Two classes in train and test, nothing wrong."""
    return [video(f"v{n}", n % 2, "test" if n % 5 < 2 else "train") for n in range(count)]


def findings_of(inspected: InspectedSet, clip: ClipShape | None = None) -> dict[str, Finding]:
    found = diagnose(inspected, clip or ClipShape())
    assert len({finding.name for finding in found}) == len(found)
    return {finding.name: finding for finding in found}


def severities(inspected: InspectedSet, clip: ClipShape | None = None) -> dict[str, Severity]:
    return {name: finding.severity for name, finding in findings_of(inspected, clip).items()}
