"""The command line of a sweep, taken apart: what chooses the sweep, what is the same at all points, what varies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.override_parser.types import Override

from videomae_train.config.grammar import parsed, quoted, values_of
from videomae_train.config.sweep_points import PRETRAIN, Setting, stage_and_key
from videomae_train.errors import ConfigError

OWN = "own"  # configs/sweep/own.yaml, for the values of a command line
_MANY = ("-m", "--multirun")
_FOLDER = ("-cd", "--config-dir")
# Hydra's flags that show something instead of running it.
_SHOWING = (
    "-h",
    "--help",
    "--hydra-help",
    "-c",
    "--cfg",
    "-i",
    "--info",
    "-sc",
    "--shell-completion",
    "--version",
)
_OURS = ("sweep", "run", "resume")  # what the sweep itself decides for its runs
_SEARCHPATH = "hydra.searchpath"


@dataclass(frozen=True)
class Request:
    """What a command line says.

    Attributes:
        name: Of the sweep's file in configs/sweep.
        folder: Of all its runs, as given.
        selecting: Overrides that choose the sweep and where it runs; its runs do not have them.
        everywhere: Overrides of every run, for Hydra itself: where to look for further YAML files.
        shared: Values that are the same at every point.
        axes: Keys of several values, each once for every value.
    """

    name: str
    folder: str
    selecting: tuple[str, ...]
    everywhere: tuple[str, ...]
    shared: tuple[Setting, ...]
    axes: tuple[list[Setting], ...]


def asks_for_sweep(arguments: Sequence[str]) -> bool:
    """Say whether arguments of `videomae pretrain` ask to run a sweep (and not, with --cfg or --help, to show one)."""
    is_many = any(_means(flag, _MANY) for flag in _flags(arguments))
    return (is_many or _chooses_sweep(arguments)) and not _shows(arguments)


def of_later_stages(arguments: Sequence[str]) -> list[str]:
    """Find what is of a sweep's later stages where --cfg or the like shows its pretraining alone."""
    if not (_shows(arguments) and _chooses_sweep(arguments)):
        return []
    return [each for each in arguments if each[:1] != "-" and _setting_of(each).stage != PRETRAIN]


def read_request(arguments: Sequence[str]) -> Request:
    """Take the command line of a sweep apart.

    Raises:
        ConfigError: It cannot be parsed, or says what a sweep does not take.
    """
    words, folders = _words_and_folders(arguments)
    # Of a key given twice the last counts, as everywhere; points' values would beat one that comes after them.
    overrides = list({_key_of(str(each.input_line)): each for each in parsed(words)}.values())
    axes = [_axis(override) for override in overrides if override.is_sweep_override()]
    given = [override for override in overrides if not override.is_sweep_override()]
    for override in given:
        _check_used(override)
    name = next((_value(each) for each in given if each.key_or_group == "sweep" and each.value()), OWN)
    places = [str(each.input_line) for each in given if each.key_or_group == _SEARCHPATH]
    everywhere = (*(f"{_SEARCHPATH}=[{quoted(f'file://{folder}')}]" for folder in folders), *places)
    if len(everywhere) > 1:
        raise ConfigError(
            where=" ".join(everywhere), came="several places", expected="one list of them",
            todo=f"Give {_SEARCHPATH}=[file:///...,file:///...] alone.",
        )  # fmt: skip
    selecting = [
        str(each.input_line) for each in given if _selects(each) and each.key_or_group != _SEARCHPATH
    ]
    return Request(
        name,
        next((_value(each) for each in given if each.key_or_group == "run"), f"runs/sweeps/{name}"),
        (f"sweep={name}", *selecting),
        everywhere,
        tuple(_setting(each) for each in given if not _selects(each) and each.key_or_group not in _OURS),
        tuple(axes),
    )


def _words_and_folders(arguments: Sequence[str]) -> tuple[list[str], list[Path]]:
    """Tell overrides from folders of further YAML files, the only other thing that a sweep takes.

    Raises:
        ConfigError: A flag is neither, or a folder is not there.
    """
    words: list[str] = []
    folders: list[Path] = []
    rest = iter(arguments)
    for argument in rest:
        flag, equals, value = argument.partition("=")
        if not argument.startswith("-"):
            words.append(argument)
        elif flag in _FOLDER:
            folders.append(_folder(flag, value if equals else next(rest, "")))
        elif not _means(flag, _MANY):
            raise ConfigError(
                where=flag, came="a flag that a sweep does not take", expected=f"{_MANY[0]} or {_FOLDER[1]} FOLDER",
                todo="Leave it out; `videomae pretrain --help` lists the choices.",
            )  # fmt: skip
    return words, folders


def _folder(flag: str, value: str) -> Path:
    if not value or not Path(value).is_dir():
        raise ConfigError(
            where=flag, came=value or "nothing", expected="a folder with YAML files in folders like those of configs",
            todo="Correct its path.",
        )  # fmt: skip
    return Path(value).absolute()


def _flags(arguments: Sequence[str]) -> list[str]:
    return [argument.partition("=")[0] for argument in arguments if argument.startswith("-")]


def _shows(arguments: Sequence[str]) -> bool:
    return any(_means(flag, _SHOWING) for flag in _flags(arguments))


def _chooses_sweep(arguments: Sequence[str]) -> bool:
    chosen = [argument for argument in arguments if argument.startswith("sweep=")]
    return bool(chosen) and chosen[-1] != "sweep=null"


def _means(flag: str, names: Sequence[str]) -> bool:
    """Say whether a flag is one of the names, or the beginning of a long one, as argparse takes it too."""
    return flag in names or (len(flag) > 3 and any(name.startswith(flag) for name in names))


def _axis(override: Override) -> list[Setting]:
    key = override.key_or_group
    if key in _OURS or _selects(override):
        is_list = key in ("sweep.then", "sweep.reuse", "sweep.grids")
        raise ConfigError(
            where=str(override.input_line), came="several values of what a sweep has one of",
            expected=f"a list, '{key}=[...]'" if is_list else f"one value, with a comma in it quoted: '{key}=\"a,b\"'",
            todo="Points are values of the runs: masking.ratio=0.75,0.9.",
        )  # fmt: skip
    values = values_of(override)
    if not values:
        raise ConfigError(
            where=str(override.input_line),
            came="no value",
            expected="one at least",
            todo="Correct the range.",
        )
    return [_setting(override)._replace(value=value) for value in values]


def _check_used(override: Override) -> None:
    """Refuse settings of Hydra's own sweeps, which nothing here would read."""
    if str(override.key_or_group).startswith(("hydra.sweeper", "hydra/sweeper", "hydra.sweep.")):
        raise ConfigError(
            where=str(override.input_line), came="a setting of Hydra's own sweeps",
            expected="the points and the folder of this one", todo="Give KEY=VALUE,VALUE and run=<folder>.",
        )  # fmt: skip


def _selects(override: Override) -> bool:
    key = override.key_or_group
    return key == "launcher" or key.startswith(("sweep.", "hydra.", "hydra/"))


def _value(override: Override) -> str:
    return str(override.value())


def _setting(override: Override) -> Setting:
    """Give the stage an override is of, and its value as it stands there."""
    return _setting_of(str(override.input_line))


def _key_of(word: str) -> str:
    return word.partition("=")[0]


def _setting_of(word: str) -> Setting:
    name, equals, text = word.partition("=")
    return Setting(*stage_and_key(name), text if equals else None)
