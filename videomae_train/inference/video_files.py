"""From what a user names (files, folders, lists, standard input) to one list of video files."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from videomae_train.data import sources
from videomae_train.errors import ConfigError

STANDARD_INPUT = "-"
_TABLES = {".csv": ",", ".tsv": "\t"}
_LISTS = (*_TABLES, ".txt")


class FoundVideos(NamedTuple):
    """Video files, each once, in the order in which they were named; a `data.clip_stream.ClipSource`.

    Attributes:
        paths: The files; whether they are there and can be read shows when they are.
        notes: What was left out and why, for the reader.
        keys: Each file's path inside what was named: the folder, the list's folder, or the folder of a file that was
            named itself; of a file elsewhere the absolute path without the first slash. Two may be the same, of
            files in different folders.
    """

    paths: tuple[Path, ...]
    notes: tuple[str, ...]
    keys: tuple[str, ...]

    @property
    def num_videos(self) -> int:
        """Files, numbered from 0."""
        return len(self.paths)

    def key(self, sample_id: int) -> str:
        """Give a file's key."""
        return self.keys[sample_id]

    def shard(self, sample_id: int) -> str:
        """No shard holds a file."""
        return ""

    def where(self, sample_id: int) -> str:
        """Give a file's path."""
        return str(self.paths[sample_id])

    def content(self, sample_id: int) -> Path:
        """Give the file."""
        return self.paths[sample_id]


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
    keys: dict[Path, str] = {}
    notes: list[str] = []
    repeated = 0
    for name in [named] if isinstance(named, str | Path) else named:
        root, paths, remarks = _meant(name, standard_input)
        repeated += len(paths)
        for path in paths:
            keys.setdefault(path, _key(path, root))
        notes.extend(f"{name}: {remark}" for remark in remarks)
    if not keys:
        raise _nothing(", ".join(map(str, named)) if not isinstance(named, str | Path) else str(named))
    repeated -= len(keys)
    notes.extend([f"{repeated} repeated paths were left out"] if repeated else [])
    return FoundVideos(tuple(keys), tuple(notes), tuple(keys.values()))


def _meant(name: str | Path, standard_input: Iterable[str]) -> tuple[Path, list[Path], list[str]]:
    """List the files of one name, with the folder that their keys are relative to, and remarks."""
    path = Path(name)
    if str(name) == STANDARD_INPUT:
        return Path(), _paths(standard_input, Path()), []
    if path.is_dir():
        return path, *sources.find_videos(path)
    if path.suffix.lower() in _LISTS:
        return path.parent, _read_list(path), []
    return path.parent, [path], []


def _key(path: Path, root: Path) -> str:
    """Name a file within a folder; one that is elsewhere by its absolute path."""
    path, root = (Path(os.path.abspath(each)) for each in (path, root))  # links stay, ".." goes
    inside = path.relative_to(root) if path.is_relative_to(root) else path.relative_to(path.anchor)
    return inside.as_posix()


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
