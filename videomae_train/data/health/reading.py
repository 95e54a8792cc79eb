"""Findings about videos that cannot be read, or not as they should be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from videomae_train.data.health.findings import Finding, Severity, names_of, share_of
from videomae_train.data.inspection import NOT_AS_INDEXED, NOT_AS_PACKED, InspectedSet


def find_faults(inspected: InspectedSet) -> Iterator[Finding]:
    """Name the videos that cannot be used.

    In a source they are a warning, because packing leaves them out. In a packed set each one was whole when it was
    packed: the shards or the index were changed or damaged since, which is an error.
    """
    faulty = [video for video in inspected.videos if video.cause]
    if len(faulty) == len(inspected.videos):
        yield Finding(
            "no-readable-video",
            Severity.ERROR,
            f"None of {len(faulty)} videos can be read ({_causes(video.cause for video in faulty)}).",
            f"The first one: {faulty[0].detail}" if faulty else "Check the path.",
            names_of(faulty),
        )
    elif faulty and inspected.is_packed:
        yield _damaged_set(inspected)
    elif faulty:
        yield Finding(
            "faults",
            Severity.WARNING,
            f"{share_of(len(faulty), len(inspected.videos))} cannot be read "
            f"({_causes(video.cause for video in faulty)}).",
            "Packing leaves them out and lists them in faults.json; repair them if they matter.",
            names_of(faulty),
        )


def _damaged_set(inspected: InspectedSet) -> Finding:
    faulty = [video for video in inspected.videos if video.cause]
    is_shard = any(video.cause in (NOT_AS_PACKED, NOT_AS_INDEXED) for video in faulty)
    return Finding(
        "damaged-set" if is_shard else "faults",
        Severity.ERROR,
        f"{share_of(len(faulty), len(inspected.videos))} are no longer what was packed "
        f"({_causes(video.cause for video in faulty)}): {faulty[0].detail}",
        "Copy the shards again from where they were packed, or pack again.",
        names_of(faulty),
    )


def find_damaged_frames(inspected: InspectedSet) -> Iterator[Finding]:
    """Name videos that decode to the end but with frames flagged as damaged."""
    damaged = [video for video in inspected.usable if video.facts and video.facts.num_damaged_frames]
    if damaged:
        yield Finding(
            "damaged-frames",
            Severity.WARNING,
            f"{share_of(len(damaged), len(inspected.videos))} have frames that the decoder flags as damaged; they are "
            "used as they come out.",
            "Look at one of them; get a better copy if the pictures are broken.",
            names_of(damaged),
        )


def _causes(causes: Iterator[str]) -> str:
    return ", ".join(f"{count} {cause}" for cause, count in Counter(causes).most_common())
