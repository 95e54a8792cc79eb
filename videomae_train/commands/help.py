"""`videomae VERB --help`: recipes, the choices of each group, and every value with what it means."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from videomae_train.config.comments import choices, explain_keys, read_comments
from videomae_train.config.grammar import parsed
from videomae_train.config.loader import compose_config
from videomae_train.config.paths import configs_folder
from videomae_train.config.provenance import chosen_options, read_layers

Row = tuple[Text, str]

_RECIPES = "experiment"
_ENDING = """\
A star marks what is chosen. A value of ??? has to be given. Words beside --help show what they choose.
--cfg job: all values as YAML. -m: several values for a key, a run for each. --hydra-help: Hydra's flags."""


def print_help(verb: str, arguments: Sequence[str]) -> None:
    """Print a verb's help, with the values that other words of the command line choose.

    Raises:
        ConfigError: Those words cannot be composed.
    """
    words = [word for word in arguments if not word.startswith("-")]
    # Of several values for a key none stands; what is shown is the one without.
    overrides = [str(each.input_line) for each in parsed(words) if not each.is_sweep_override()]
    values: Any = OmegaConf.to_container(compose_config(verb, overrides), resolve=False)
    explained = explain_keys(read_layers(verb, overrides)[0])
    console = Console(highlight=False)
    about = read_comments(configs_folder() / f"{verb}.yaml")
    console.print(f"Usage: {about.command} [GROUP=CHOICE | KEY=VALUE]...\n", markup=False)
    console.print(Padding(f"{about.summary}.", (0, 0, 1, 2), expand=False), markup=False)
    for group, chosen in sorted(
        chosen_options(verb, overrides).items(), key=lambda option: option[0] != _RECIPES
    ):
        named = choices(group, verb)
        if named.keys() - {chosen}:
            _print_part(f"{group}=", [(_marked(name, chosen), said) for name, said in named.items()], console)
    _print_part("Values", list(_value_rows(values, explained)), console)
    console.print(_ENDING, markup=False)


def _print_part(title: str, rows: Sequence[Row], console: Console) -> None:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(overflow="fold")
    table.add_column(overflow="fold", style="dim")
    for name, said in rows:
        table.add_row(name, Text(said))
    console.print(Text(title, "bold"))
    console.print(Padding(table, (0, 0, 1, 2), expand=False))


def _marked(name: str, chosen: str | None) -> Text:
    return Text(f"{name} *" if name == chosen else name)


def _value_rows(part: Mapping[str, Any], explained: Mapping[str, str], prefix: str = "") -> Iterator[Row]:
    """List values as words of a command line; a part that is explained has a row of its own before them."""
    for name, value in part.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            if key in explained:
                yield Text(f"{key}.", "italic"), explained[key]
            yield from _value_rows(value, explained, f"{key}.")
        else:
            yield Text(f"{key}={_shown(value)}"), explained.get(key, "")


def _shown(value: Any) -> str:
    """Write a value as one would on the command line.

    >>> _shown([0.9, 0.95]), _shown(None), _shown("tube"), _shown(1.5e-4)
    ('[0.9,0.95]', 'null', 'tube', '0.00015')
    """
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
