"""Something-Something V2: numbered .webm files with JSON lists of templates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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

_LABELS = "labels"


def find_json_lists(splits: Path) -> dict[str, Path]:
    """Find the JSON files by the last word of their names: labels, train, validation, test."""
    files = {path.stem.split("-")[-1]: path for path in sorted(splits.glob("*.json"))}
    return {name: path for name, path in files.items() if name in (_LABELS, *PARTS)}


def read_something_v2(folder: Path, lists: dict[str, Path]) -> SourceSet:
    """List the videos of the JSON lists; the class is the template without brackets, numbered by the labels file.

    Entries without a template, as in the test list, are unlabelled. Files that are not there become faults.

    Args:
        folder: The videos, named `<id>.webm`.
        lists: As `find_json_lists` finds them.

    Raises:
        ConfigError: The labels or a value are missing, or a template is not among the labels.
    """
    if _LABELS not in lists or len(lists) == 1:
        raise ConfigError(
            where=str(folder),
            came=f"lists {', '.join(path.name for path in lists.values())}",
            expected="a labels file and at least one of train, validation and test",
            todo="Put something-something-v2-labels.json and the lists into one folder.",
        )
    paths, notes = find_videos(folder)
    files = unique_files(paths, [path.stem for path in paths])
    numbers = {name: int(number) for name, number in json.loads(lists[_LABELS].read_text("utf-8")).items()}
    entries = [
        (path, PARTS[name], entry)
        for name, path in lists.items()
        if name != _LABELS
        for entry in json.loads(path.read_text("utf-8"))
    ]
    videos = [_video(folder, files, numbers, *entry) for entry in entries]
    notes += note_unlisted(files, {str(entry["id"]) for *_, entry in entries})
    return SourceSet("something-v2", sorted_by_name(videos), _classes(numbers), tuple(notes))


def _classes(numbers: dict[str, int]) -> tuple[str, ...]:
    return tuple(sorted(numbers, key=numbers.__getitem__))


def _video(
    folder: Path,
    files: dict[str, Path],
    numbers: dict[str, int],
    file: Path,
    part: str,
    entry: dict[str, Any],
) -> SourceVideo:
    stem = str(entry["id"])
    path = files.get(stem, folder / f"{stem}.webm")
    name = entry.get("template", "").replace("[", "").replace("]", "")
    if name and name not in numbers:
        raise ConfigError(
            where=f"{file}, id {stem}",
            came=f"the template {name!r}",
            expected="a template of the labels file",
            todo="Use the labels file that belongs to the lists.",
        )
    return SourceVideo(path, path.relative_to(folder).as_posix(), numbers.get(name, -1), {SPLIT: part})
