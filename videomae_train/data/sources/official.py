"""What the readers of official lists share."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from videomae_train.errors import ConfigError


def read_lines(file: Path) -> list[str]:
    """Read the lines of a list that hold anything.

    Raises:
        ConfigError: There is no such file.
    """
    if not file.is_file():
        raise ConfigError(
            where=str(file),
            came="no such file",
            expected="a list of the official splits",
            todo="Give the folder that holds all of the official lists.",
        )
    return [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def note_unlisted(found: Iterable[str], listed: Collection[str]) -> list[str]:
    """Note how many videos are in no list."""
    count = sum(name not in listed for name in found)
    return [f"{count} videos are in no split list"] if count else []
