"""Kinetics: clips named after their YouTube id and times, with the official CSV files."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from videomae_train.data.class_labels import class_names, class_numbers, plain_label
from videomae_train.data.sources.lists import PARTS, SPLIT
from videomae_train.data.sources.official import note_unlisted
from videomae_train.data.sources.videos import (
    SourceSet,
    SourceVideo,
    find_videos,
    sorted_by_name,
    unique_files,
)
from videomae_train.errors import ConfigError

_COLUMNS = {"youtube_id", "time_start", "time_end"}


def is_kinetics(file: Path) -> bool:
    """Say whether a CSV has the columns of Kinetics."""
    with file.open(newline="", encoding="utf-8-sig") as stream:
        return set(next(csv.reader(stream), [])) >= _COLUMNS


def read_kinetics(folder: Path, lists: list[Path]) -> SourceSet:
    """List the clips of Kinetics CSV files, wherever below the folder they lie.

    A clip is `<youtube_id>_<start>_<end>` with six digits each, or just `<youtube_id>`, with any video extension.
    Clips that are not there, as a part of YouTube always is, become faults of packing. The column `split`, or else
    the file's name, says the part; validate is called val.

    Raises:
        ConfigError: A folder, column or value is missing, or two files have the same name.
    """
    paths, notes = find_videos(folder)
    files = unique_files(paths, [path.stem for path in paths])
    rows = {_clip_name(file, row): (file, row) for file in lists for row in _read_rows(file)}
    names = {clip: clip if clip in files else row["youtube_id"] for clip, (_, row) in rows.items()}
    classes = class_names((row.get("label", "") for _, row in rows.values()), lists[0].parent)
    numbers = class_numbers(classes)
    videos = (
        SourceVideo(
            path=files.get(names[clip], folder / f"{clip}.mp4"),
            name=files[names[clip]].relative_to(folder).as_posix() if names[clip] in files else f"{clip}.mp4",
            label=numbers[plain_label(row.get("label", ""))],
            splits={SPLIT: _part(file, row)},
        )
        for clip, (file, row) in rows.items()
    )
    notes += note_unlisted(files, set(names.values()))
    return SourceSet("kinetics", _unique(videos), classes, tuple(notes))


def _read_rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8-sig") as stream:
        return list(csv.DictReader(stream, restval=""))


def _clip_name(file: Path, row: dict[str, str]) -> str:
    try:
        start, end = int(float(row["time_start"])), int(float(row["time_end"]))
    except ValueError as error:
        raise ConfigError(
            where=str(file),
            came=f"the times {row['time_start']!r} to {row['time_end']!r} of {row['youtube_id']}",
            expected="seconds",
            todo="Write numbers of seconds in that line, such as 10 and 20, or take it out.",
        ) from error
    return f"{row['youtube_id']}_{start:06d}_{end:06d}"


def _part(file: Path, row: dict[str, str]) -> str:
    part = row.get("split") or file.stem
    return PARTS.get(part, part)


def _unique(videos: Iterable[SourceVideo]) -> tuple[SourceVideo, ...]:
    """Refuse one file for two clips, which happens when files are named by the id alone."""
    ordered = sorted_by_name(videos)
    for first, second in pairwise(ordered):
        if first.name == second.name:
            raise ConfigError(
                where=str(first.path),
                came="one file for two clips of the lists",
                expected="clips named <youtube_id>_<start>_<end>",
                todo="Rename the files after their times.",
            )
    return ordered
