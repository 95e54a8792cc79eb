"""Places in arguments: {split} in those of `videomae evaluate splits=...`, and none where one is asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from videomae_train.errors import ConfigError

PLACE = "{split}"
_OF_PLACES = ("run", "weights", "init", "path")


def check_given(arguments: Sequence[str]) -> None:
    """Refuse places that are empty, which would be the folder that one stands in, and run folders that cannot be.

    Raises:
        ConfigError: One is.
    """
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if equals and not value.strip("'\"") and key.rpartition(".")[2] in _OF_PLACES:
            raise ConfigError(
                where=key, came="nothing", expected="a path",
                todo=f"Give {key}=<path>; is a variable of the shell not set?",
            )  # fmt: skip
        if key == "run" and not any(
            sign in value for sign in ("$", "{", ",")
        ):  # what Hydra fills in is not known yet
            _check_folder(Path(value.strip("'\"")))


def _check_folder(folder: Path) -> None:
    """Say now what making it would end in later: a traceback of Hydra's, or hours of Slurm's queue."""
    there = next((each for each in (folder, *folder.absolute().parents) if each.exists()), None)
    if there is not None and not there.is_dir():
        came = "which is a file" if there == folder else f"where {there} is a file"
    elif there is not None and not os.access(there, os.W_OK | os.X_OK):
        came = f"and {there} may not be written to"
    else:
        return
    raise ConfigError(
        where="run", came=f"{folder}, {came}", expected="a folder", todo="Give another run=<folder>."
    )


def quote_places(arguments: Sequence[str]) -> list[str]:
    """Quote values with {split} in them for Hydra, to which a bare brace begins a dictionary.

    >>> quote_places(["weights=runs/split{split}/weights", "splits=[1,2]"])
    ["weights='runs/split{split}/weights'", 'splits=[1,2]']
    """
    return [_quoted(argument) if PLACE in argument else argument for argument in arguments]


def _quoted(argument: str) -> str:
    key, equals, value = argument.partition("=")
    return argument if value[:1] in ("'", '"') else f"{key}{equals}'{value}'"
