"""All findings about a set, the worst first."""

from __future__ import annotations

from itertools import chain

from videomae_train.data.health.findings import ClipShape, Finding, Severity
from videomae_train.data.health.frames import (
    find_decoding_cost,
    find_odd_formats,
    find_rates,
    find_short_videos,
    find_sizes,
    find_still_videos,
)
from videomae_train.data.health.labels import find_labels, find_splits
from videomae_train.data.health.overlap import find_duplicates, find_overlap, groups_by_pictures
from videomae_train.data.health.reading import find_damaged_frames, find_faults
from videomae_train.data.inspection import InspectedSet

_ORDER = list(Severity)


def diagnose(inspected: InspectedSet, clip: ClipShape) -> list[Finding]:
    """Say what is wrong with a set, and what is good to know, before anything is trained on it.

    Args:
        inspected: Its videos.
        clip: The clips that will be taken.

    Returns:
        Errors, then warnings, then notes.
    """
    alike = groups_by_pictures(inspected.usable)
    found = chain(
        find_faults(inspected),
        find_overlap(inspected, alike),
        find_splits(inspected),
        find_labels(inspected),
        find_duplicates(inspected, alike),
        find_short_videos(inspected, clip),
        find_still_videos(inspected),
        find_rates(inspected),
        find_sizes(inspected, clip),
        find_decoding_cost(inspected, clip),
        find_damaged_frames(inspected),
        find_odd_formats(inspected),
    )
    notes = (Finding("listing", Severity.NOTE, f"{note}.") for note in inspected.notes)
    return sorted(chain(found, notes), key=lambda finding: _ORDER.index(finding.severity))
