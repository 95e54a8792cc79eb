"""Findings about videos that are there twice: inside the set, and on both sides of a split."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import PurePosixPath

from videomae_train.data.health.findings import Finding, Severity, names_of, share_of
from videomae_train.data.inspection import InspectedSet, InspectedVideo
from videomae_train.data.thumbnails import find_lookalikes

Group = list[InspectedVideo]

# A score is off by up to the share of its videos that were trained on; below one in a hundred that is within its noise.
_TOLERATED_RATIO = 0.01
_UCF101_NAME = re.compile(r"v_(?P<class>[A-Za-z]+)_(?P<group>g\d{2})_c\d{2}")


@dataclass(frozen=True)
class _Sameness:
    """A sense in which videos can be the same, and how sure it is."""

    name: str
    text: str
    is_certain: bool
    groups: list[Group]


def find_duplicates(inspected: InspectedSet, alike: list[Group]) -> Iterator[Finding]:
    """Name videos that are there twice, by bytes and by pictures (`alike`), and those with two labels."""
    groups = groups_by_bytes(inspected.usable)
    if groups:
        extra = sum(len(group) - 1 for group in groups)
        yield Finding(
            "duplicates",
            Severity.WARNING,
            f"{share_of(extra, len(inspected.usable))} are byte for byte copies of another one: they count twice.",
            "Remove the copies.",
            _pairs(groups),
        )
    if alike:
        yield Finding(
            "lookalikes",
            Severity.WARNING,
            f"{len(alike)} groups of videos show nearly identical pictures: most likely one recording, encoded twice.",
            "Look at them; remove the copies.",
            _pairs(alike),
        )
    if doubted := [group for group in [*groups, *alike] if len({video.label for video in group}) > 1]:
        yield Finding(
            "contradicting-labels",
            Severity.WARNING,
            f"{len(doubted)} groups of copies have different labels.",
            "Decide which label is right, and remove the other copies.",
            _pairs(doubted),
        )


def find_overlap(inspected: InspectedSet, alike: list[Group]) -> Iterator[Finding]:
    """Name videos that are, in some sense, on both sides of a split.

    Byte copies, and clips of one group of UCF101 (cut from one recording; its official splits keep them together),
    are an error above 1 % of the smaller part: the score would be about videos that were trained on. Nearly
    identical pictures (`alike`) are a warning, because a person has to look.
    """
    usable = inspected.usable
    senses = (
        _Sameness("overlap", "are byte for byte in {other} too", True, groups_by_bytes(usable)),
        _Sameness(
            "group-overlap",
            "belong to a group of UCF101 that is in {other} too, so they were cut from one recording",
            True,
            groups_of_ucf101(usable),
        ),
        _Sameness(
            "lookalike-overlap",
            "show nearly the same pictures as a video in {other}",
            False,
            alike,
        ),
    )
    for sense in senses:
        for split in sorted({split for video in usable for split in video.splits}):
            yield from _overlap_of_parts(usable, split, sense)


def _overlap_of_parts(usable: list[InspectedVideo], split: str, sense: _Sameness) -> Iterator[Finding]:
    sizes: defaultdict[str, int] = defaultdict(int)
    for video in usable:
        if split in video.splits:
            sizes[video.splits[split]] += 1
    for smaller, larger in combinations(sorted(sizes, key=lambda part: (sizes[part], part)), 2):
        shared = [
            video
            for group in sense.groups
            if any(video.splits.get(split) == larger for video in group)
            for video in group
            if video.splits.get(split) == smaller
        ]
        if shared:
            is_error = sense.is_certain and len(shared) > _TOLERATED_RATIO * sizes[smaller]
            words = sense.text.format(other=f"{split}/{larger}")
            yield Finding(
                sense.name,
                Severity.ERROR if is_error else Severity.WARNING,
                f"{split}/{smaller}: {share_of(len(shared), sizes[smaller])} {words}. A score on them tells what was "
                "remembered, not what was learnt.",
                "Use the official split, or take them out of one of the parts.",
                names_of(shared),
            )


def groups_by_bytes(videos: Iterable[InspectedVideo]) -> list[Group]:
    """Group videos with the same bytes."""
    return _grouped((video.checksum, video) for video in videos if video.checksum)


def groups_of_ucf101(videos: Iterable[InspectedVideo]) -> list[Group]:
    """Group clips named by UCF101's rule, v_<class>_g<group>_c<clip>, by class and group."""
    named = ((_UCF101_NAME.search(PurePosixPath(video.name).name), video) for video in videos)
    return _grouped((match.group("class", "group"), video) for match, video in named if match)


def groups_by_pictures(videos: Iterable[InspectedVideo]) -> list[Group]:
    """Group videos of different bytes with nearly identical pictures; see `find_lookalikes`."""
    distinct = list({video.checksum: video for video in videos if video.thumbnails}.values())
    places = find_lookalikes([video.thumbnails for video in distinct])
    return [[distinct[place] for place in group] for group in places]


def _grouped(keyed: Iterable[tuple[Hashable, InspectedVideo]]) -> list[Group]:
    groups: defaultdict[Hashable, Group] = defaultdict(list)
    for key, video in keyed:
        groups[key].append(video)
    return [group for group in groups.values() if len(group) > 1]


def _pairs(groups: list[Group]) -> tuple[str, ...]:
    return tuple(" = ".join(names_of(group)) for group in groups)
