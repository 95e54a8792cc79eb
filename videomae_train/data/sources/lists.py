"""Lists of videos: comma-, tab- or space-separated files, alone or one for each part of a split."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from videomae_train.data.class_labels import class_names, class_numbers, plain_label
from videomae_train.data.sources.videos import SourceSet, SourceVideo, no_videos, sorted_by_name
from videomae_train.errors import ConfigError

LIST_EXTENSIONS = (".csv", ".tsv", ".txt", ".list")
SPLIT = "split"
# What lists and folders call their parts, and what we call them.
PARTS = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}


def read_list(file: Path) -> SourceSet:
    """List the videos of a file with a header: `path`, `label` and any number of split columns.

    Values are separated by tabs, commas or spaces, whichever the first line has. A space-separated list may do
    without a header: `path label` or `path` in each line. Paths are relative to the list's folder. Labels are
    class names, or class numbers if all of them are (7 and 007 are one); an empty one means unlabelled. A further
    column is a split: its cells name parts such as train and test, an empty one means that the split does not use
    the video.

    Raises:
        ConfigError: A column or a value is missing, a path is listed twice, or numbers make far too many classes.
    """
    rows = read_rows(file)
    return _labelled("list", file.parent, rows, file)


def part_lists(folder: Path) -> dict[Path, str]:
    """Find lists named after parts: train.csv, val.txt ..."""
    files = (path for path in sorted(folder.iterdir()) if path.suffix in LIST_EXTENSIONS)
    return {path: PARTS[path.stem] for path in files if path.stem in PARTS}


def read_part_lists(folder: Path, lists: dict[Path, str]) -> SourceSet:
    """List the videos of train, val and test lists; the files become the parts of one split named "split".

    Args:
        folder: What the paths in the lists are relative to.
        lists: Files as `read_list` reads them, with the part that each is.

    Raises:
        ConfigError: A list is wrong, or two of them name the same video.
    """
    rows = [{**row, SPLIT: part} for file, part in lists.items() for row in read_rows(file)]
    paths = Counter(row["path"] for row in rows)
    if paths.total() != len(paths):
        raise ConfigError(
            where=str(next(iter(lists)).parent),
            came=f"{paths.most_common(1)[0][0]} in two lists",
            expected="parts that do not overlap",
            todo="Take the video off one of the lists.",
        )
    return _labelled("lists", folder, rows, next(iter(lists)).parent)


def _labelled(layout: str, folder: Path, rows: list[dict[str, str]], listed_in: Path) -> SourceSet:
    """Make the set of rows whose paths are relative to a folder."""
    classes = class_names((row["label"] for row in rows), listed_in)
    numbers = class_numbers(classes)
    return SourceSet(layout, sorted_by_name(_video(folder, row, numbers) for row in rows), classes)


def _video(folder: Path, row: dict[str, str], numbers: Mapping[str, int]) -> SourceVideo:
    return SourceVideo(
        path=folder / row["path"],
        name=row["path"],
        label=numbers[plain_label(row["label"])],
        splits={name: part for name, part in row.items() if name not in ("path", "label") and part},
    )


def read_rows(file: Path) -> list[dict[str, str]]:
    """Read a list to one mapping per line, column -> stripped value.

    Raises:
        ConfigError: A column or a value is missing, or a path is listed twice.
    """
    columns, lines = _columns_and_lines(file)
    _check_columns(file, columns)
    _check_lines(file, columns, lines)
    return [dict(zip(columns, map(str.strip, line), strict=True)) for line in lines]


def _columns_and_lines(file: Path) -> tuple[list[str], list[list[str]]]:
    text = file.read_text(encoding="utf-8-sig")
    first = text.partition("\n")[0]
    separator = next((mark for mark in "\t," if mark in first), " ")
    if separator == " " and not {"path", "label"} <= set(first.split()):
        lines = [line.rstrip().rsplit(maxsplit=1) for line in text.splitlines() if line.strip()]
        return ["path", "label"], [[line[0], line[1] if len(line) > 1 else ""] for line in lines]
    lines = [line for line in csv.reader(text.splitlines(), delimiter=separator) if line]
    return (lines[0], lines[1:]) if lines else ([], [])


def _check_columns(file: Path, columns: list[str]) -> None:
    if not {"path", "label"} <= set(columns) or len(set(columns)) < len(columns):
        raise ConfigError(
            where=str(file),
            came=f"the columns {', '.join(columns) or '(none)'}",
            expected="a first line `path,label` (further columns are splits)",
            todo="Add the header line.",
        )


def _check_lines(file: Path, columns: list[str], lines: list[list[str]]) -> None:
    if not lines:
        raise no_videos(str(file), "no line below the header")
    seen: set[str] = set()
    for line in lines:
        path = line[columns.index("path")] if len(line) == len(columns) else ""
        if not path or path in seen:
            raise ConfigError(
                where=str(file),
                came=f"the line {','.join(line)!r}" + " a second time" * bool(path),
                expected=f"each path once, and a value for each of {', '.join(columns)}",
                todo="Correct the line; quote values that hold a comma.",
            )
        seen.add(path)
