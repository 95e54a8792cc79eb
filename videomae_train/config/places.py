"""Places in arguments: {split} in those of `videomae evaluate splits=...`, and none where one is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from videomae_train.errors import ConfigError

PLACE = "{split}"
_OF_PLACES = ("run", "weights", "init", "path")


def check_given(arguments: Sequence[str]) -> None:
    """Refuse places that are empty: they would be the folder that one happens to stand in.

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


def quote_places(arguments: Sequence[str]) -> list[str]:
    """Quote values with {split} in them for Hydra, to which a bare brace begins a dictionary.

    >>> quote_places(["weights=runs/split{split}/weights", "splits=[1,2]"])
    ["weights='runs/split{split}/weights'", 'splits=[1,2]']
    """
    return [_quoted(argument) if PLACE in argument else argument for argument in arguments]


def _quoted(argument: str) -> str:
    key, equals, value = argument.partition("=")
    return argument if value[:1] in ("'", '"') else f"{key}{equals}'{value}'"
