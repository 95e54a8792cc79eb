"""Which of the scored videos were cut from one recording, by their keys."""

from __future__ import annotations

import re
from collections.abc import Sequence

from videomae_train.errors import ConfigError


def recordings_of(keys: Sequence[str], pattern: str | None) -> list[str] | None:
    r"""Name the recording that each video was cut from: what a pattern finds in its key.

    >>> recordings_of(["Punch__v_Punch_g02_c04", "Punch__v_Punch_g02_c05"], r"v_.+_g\d+")
    ['v_Punch_g02', 'v_Punch_g02']

    Args:
        keys: Of the videos.
        pattern: Regular expression; None leaves each video as a recording of its own.

    Raises:
        ConfigError: It is no regular expression, or finds nothing in some key.
    """
    if pattern is None:
        return None
    try:
        found = [(match := re.search(pattern, key)) and match.group() for key in keys]
    except re.error as error:
        raise ConfigError(
            where="data.recordings",
            came=f"{pattern}, at character {error.pos}: {error.msg}",
            expected="a regular expression",
            todo="Correct it, or set data.recordings=null.",
        ) from error
    without = [key for key, name in zip(keys, found, strict=True) if not name]
    if without:
        raise ConfigError(
            where="data.recordings",
            came=f"{pattern}, which finds nothing in {len(without)} of {len(keys)} keys, such as {without[0]}",
            expected="a regular expression that finds the recording's name in each video's key",
            todo="Correct it, or set data.recordings=null: then each video counts as a recording of its own.",
        )
    return [name for name in found if name]
