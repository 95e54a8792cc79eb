"""From what a user names (files, folders, lists, standard input) to one list of video files."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from videomae_train.data import sources
from videomae_train.errors import ConfigError

STANDARD_INPUT = "-"
_TABLES = {".csv": ",", ".tsv": "\t"}
_LISTS = (*_TABLES, ".txt")


class FoundVideos(NamedTuple):
    """Video files, each once, in the order in which they were named.

    Attributes:
        paths: The files; whether they are there and can be read shows when they are.
        notes: What was left out and why, for the reader.
    """

    paths: tuple[Path, ...]
    notes: tuple[str, ...]


def find_videos(named: str | Path | Sequence[str | Path], standard_input: Iterable[str] = ()) -> FoundVideos:
    """List the video files that are meant.

    Args:
        named: Each a file; a folder, whose files with a video's extension are taken at any depth, in the order of
            their names; a list, which is a .txt file with one path in each line, or a .csv or .tsv file with a column
            `path`, its paths relative to the list's folder; or "-", paths from standard input.
        standard_input: Its lines.

    Raises:
        ConfigError: A list cannot be read, a folder holds no video, or nothing was found at all.
    """
    paths: list[Path] = []
    notes: list[str] = []
    for name in [named] if isinstance(named, str | Path) else named:
        if str(name) == STANDARD_INPUT:
            paths.extend(_paths(standard_input, Path()))
        elif Path(name).is_dir():
            videos, remarks = sources.find_videos(Path(name))
            paths.extend(videos)
            notes.extend(f"{name}: {remark}" for remark in remarks)
        else:
            paths.extend(_read_list(Path(name)) if Path(name).suffix.lower() in _LISTS else [Path(name)])
    if not paths:
        raise _nothing(", ".join(map(str, named)) if not isinstance(named, str | Path) else str(named))
    once = tuple(dict.fromkeys(paths))
    repeated = len(paths) - len(once)
    return FoundVideos(once, (*notes, *([f"{repeated} repeated paths were left out"] if repeated else [])))


def _read_list(file: Path) -> list[Path]:
    """Read a list of one kind or the other."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            where=str(file),
            came=error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error),
            expected="a readable list of videos",
            todo="Check the path.",
        ) from error
    separator = _TABLES.get(file.suffix.lower())
    if separator is None:
        return _paths(text.splitlines(), file.parent)
    rows = csv.DictReader(text.splitlines(), delimiter=separator)
    if "path" not in (rows.fieldnames or ()):
        raise ConfigError(
            where=str(file),
            came=f"the columns {', '.join(rows.fieldnames or ()) or '(none)'}",
            expected="a first line with a column `path`",
            todo="Add the header line, or name the list .txt with one path in each line.",
        )
    return _paths((row["path"] or "" for row in rows), file.parent)


def _paths(lines: Iterable[str], folder: Path) -> list[Path]:
    return [folder / line.strip() for line in lines if line.strip()]


def _nothing(where: str) -> ConfigError:
    return ConfigError(
        where=where or "videos",
        came="no path",
        expected="at least one video",
        todo="Name files, folders or lists; - reads paths from standard input, one a line.",
    )
