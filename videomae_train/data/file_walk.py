"""Finding files below a folder: through links, and without dropping any in silence."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from videomae_train.data.disk_trouble import is_of_the_file, repeat_in_trouble, trouble_with
from videomae_train.errors import ConfigError


class FoundFile(NamedTuple):
    """A file, or a link that may have been one.

    Attributes:
        path: Begins with the folder that was asked for; links in it stay.
        leads_nowhere: It is a link without a target.
    """

    path: Path
    leads_nowhere: bool


def files_below(folder: Path) -> list[FoundFile]:
    """List the files below a folder in the order of their names.

    Links to folders are followed, but for those to a folder that they lie in. Only links and folders are asked for
    more than their name and kind: a set may have millions of files, each of which would be a request to a server.

    Raises:
        ConfigError: A folder may not be listed.
        VideoMAETrainError: The disk is in trouble.
    """
    return sorted(_walk(folder, frozenset()), key=attrgetter("path"))


def _walk(folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[FoundFile]:
    identity, entries = _list(folder)
    if identity in above:
        return
    for entry in entries:
        mode = _mode(entry)
        if mode is None:
            yield FoundFile(Path(entry.path), leads_nowhere=True)
        elif stat.S_ISREG(mode):
            yield FoundFile(Path(entry.path), leads_nowhere=False)
        elif stat.S_ISDIR(mode):
            yield from _walk(Path(entry.path), above | {identity})


def _list(folder: Path) -> tuple[tuple[int, int], list[os.DirEntry[str]]]:
    """Tell a folder from others, and list it."""

    def attempt() -> tuple[tuple[int, int], list[os.DirEntry[str]]]:
        status = os.stat(folder)
        with os.scandir(folder) as entries:
            return (status.st_dev, status.st_ino), list(entries)

    try:
        return repeat_in_trouble(attempt)
    except OSError as error:
        if not is_of_the_file(error):
            raise trouble_with(folder, error) from error
        raise ConfigError(
            where=str(folder),
            came=str(error.strerror).lower(),
            expected="a folder that may be listed",
            todo="Make it readable, or give a folder that it is not in.",
        ) from error


def _mode(entry: os.DirEntry[str]) -> int | None:
    """Say what an entry is, or what a link leads to; None if that is nothing."""
    if not entry.is_symlink():
        if entry.is_file(follow_symlinks=False):
            return stat.S_IFREG
        return stat.S_IFDIR if entry.is_dir(follow_symlinks=False) else 0
    try:
        return repeat_in_trouble(entry.stat).st_mode
    except OSError as error:
        if not is_of_the_file(error):
            raise trouble_with(Path(entry.path), error) from error
        return None
