"""{split} in the arguments of `videomae evaluate splits=...`: the place of a split's name."""

from __future__ import annotations

from collections.abc import Sequence

PLACE = "{split}"


def quote_places(arguments: Sequence[str]) -> list[str]:
    """Quote values with {split} in them for Hydra, to which a bare brace begins a dictionary.

    >>> quote_places(["weights=runs/split{split}/weights", "splits=[1,2]"])
    ["weights='runs/split{split}/weights'", 'splits=[1,2]']
    """
    return [_quoted(argument) if PLACE in argument else argument for argument in arguments]


def _quoted(argument: str) -> str:
    key, equals, value = argument.partition("=")
    return argument if value[:1] in ("'", '"') else f"{key}{equals}'{value}'"
