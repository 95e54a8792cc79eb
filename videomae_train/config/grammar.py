"""Hydra's grammar of overrides: what a command line says, and how a value is written for another one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from videomae_train.errors import ConfigError

# What Hydra's lexer takes without quotes; it knows no letters beyond ASCII.
_PLAIN = re.compile(r"[\w./:-]+", re.ASCII)


def parsed(words: Sequence[str]) -> list[Override]:
    """Parse overrides.

    Raises:
        ConfigError: They are none.
    """
    try:
        return OverridesParser.create().parse_overrides(list(words))
    except HydraException as error:
        raise _refused(words, " ".join(str(error).split())) from None


def values_of(override: Override) -> list[str]:
    """Give the values that an override sweeps over, each as a command line has it.

    Raises:
        ConfigError: They cannot be listed, such as those of an interval.
    """
    try:
        return list(override.sweep_string_iterator())
    except HydraException:  # whose words are of its own insides
        raise _refused([str(override.input_line)], "values that are not listed one by one") from None


def in_grammar(value: Any) -> str:
    """Write a plain value as a command line has it.

    >>> in_grammar(None), in_grammar(True), in_grammar([1e-3, "a b"]), in_grammar({"flip": False})
    ('null', 'true', "[0.001,'a b']", '{flip:false}')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return f"{{{','.join(f'{in_grammar(key)}:{in_grammar(each)}' for key, each in items)}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(in_grammar, cast('Sequence[Any]', value)))}]"
    return quoted(value) if isinstance(value, str | Path) else str(value)


def quoted(value: str | Path) -> str:
    """Write a text as a value of an override, in quotes where Hydra would read something else."""
    text = str(value)
    if _PLAIN.fullmatch(text):
        return text
    # A backslash is one, unless it stands before a quote.
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), text)
    return f"'{escaped}'"


def _refused(words: Sequence[str], came: str) -> ConfigError:
    return ConfigError(
        where=f"videomae pretrain {' '.join(words)}",
        came=came,
        expected="overrides such as masking.ratio=0.75,0.9",
        todo="Quote what Hydra takes for something else.",
    )
