"""What a sweep asks for: from a command line and a file in configs/sweep to named points."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from omegaconf import DictConfig, OmegaConf

from videomae_train.config.fields import Frozen, PositiveInt
from videomae_train.config.grammar import in_grammar, quoted
from videomae_train.config.loader import compose_config, resolve_config, validate_config
from videomae_train.config.sweep_points import PRETRAIN, Point, Setting, named_points, stage_and_key
from videomae_train.config.sweep_request import read_request
from videomae_train.config.sweep_stages import check_stages
from videomae_train.errors import ConfigError

_OF_PRETRAINING = re.compile(r"\$\{([\w.]+)\}")
_BASES = ("finetune", "probe", "knn", "evaluate")
_WHOLE_GROUPS = ("trainer", "logger")


class SweepOptions(Frozen):
    """A file in configs/sweep.

    Attributes:
        grids: Each maps keys to one value or a list of them; all combinations are points. A key that begins with
            finetune., probe. or evaluate. belongs to that stage, others to the pretraining; `pretrain: null` has none,
            so that the next stage starts from scratch. Values on the command line multiply every grid; where a grid
            has the same key, they take its place, or pick the grids that have them, if the key tells grids apart.
        then: Stages after the pretraining, in their order.
        pretrain: Overrides of the pretraining at every point, before those of the command line.
        finetune: The same of the fine-tuning; ${...} is a value of the point's pretraining.
        probe: The same of probing by training a head.
        knn: The same of probing with probe=knn, which trains nothing and ends its point with a score.
        evaluate: The same of the scoring.
        at_once: Points that this machine runs beside each other.
        reuse: Folders of other sweeps; what they have finished by the same recipe on the same videos is not run again.
    """

    grids: tuple[dict[str, Any], ...]
    then: tuple[Literal["finetune", "probe", "evaluate"], ...]
    pretrain: tuple[str, ...]
    finetune: tuple[str, ...]
    probe: tuple[str, ...]
    knn: tuple[str, ...]
    evaluate: tuple[str, ...]
    at_once: PositiveInt
    reuse: tuple[str, ...]


class _File(Frozen):
    """Names its values as the command line does."""

    sweep: SweepOptions


@dataclass(frozen=True)
class Sweep:
    """A whole request.

    Attributes:
        folder: Of all its runs; absolute.
        options: Its file's, with the command line's changes.
        points: In the order in which they start.
        shared: Overrides from the command line, the same at every point.
        selecting: Overrides that choose the sweep and where it runs; its runs do not have them.
        everywhere: Overrides of every run, for Hydra itself.
    """

    folder: Path
    options: SweepOptions
    points: tuple[Point, ...]
    shared: tuple[Setting, ...]
    selecting: tuple[str, ...]
    everywhere: tuple[str, ...] = ()

    def pretrain_words(self, point: Point) -> list[str]:
        """Give the overrides of a point's pretraining."""
        shared = self._shared_words(PRETRAIN)
        return [*self.everywhere, *self.options.pretrain, *shared, *point.words(PRETRAIN)]

    def later_words(self, stage: str, point: Point, bases: Mapping[str, Sequence[str]]) -> list[str]:
        """Give the overrides of a later stage of a point, after those of the sweep's file, `bases`.

        A score is of the set that the stages before it took, where the command line or the grid names one. Whoever
        chooses another trainer or logger for a stage wants its values, and not those of the pretraining's.
        """
        earlier = self.options.then[: self.options.then.index(stage)]
        taken = [
            word for each in earlier for word in self._own_words(each, point) if word.startswith("data.path=")
        ]
        own = [*taken, *self._own_words(stage, point)]
        probes = [word for word in own if word.startswith("probe=")]
        is_knn = stage == "probe" and probes[-1:] == ["probe=knn"]
        chosen = tuple(
            f"{group}." for group in _WHOLE_GROUPS if any(word.startswith(f"{group}=") for word in own)
        )
        base = bases["knn" if is_knn else stage]
        return [*self.everywhere, *(word for word in base if not word.startswith(chosen)), *own]

    def later_bases(self, point: Point) -> dict[str, list[str]]:
        """Give the later stages' overrides of the sweep's file, with the values of a point's pretraining for ${...}.

        Raises:
            ConfigError: Values are missing, or do not resolve.
        """
        composed = self.compose(point)
        values = resolve_config(PRETRAIN, composed)
        file = cast("dict[str, Any]", OmegaConf.to_container(composed.sweep, resolve=False))
        return {
            base: [
                _filled(word, as_text, values)
                for word, as_text in zip(file[base], values["sweep"][base], strict=True)
            ]
            for base in _BASES
        }

    def compose(self, point: Point, *, with_hydra: bool = False) -> DictConfig:
        """Compose a point's pretraining, with the sweep's own values at `sweep`."""
        words = [*self.selecting, *self.pretrain_words(point), f"run={quoted(self.folder)}"]
        return compose_config(PRETRAIN, words, with_hydra=with_hydra)

    def _own_words(self, stage: str, point: Point) -> list[str]:
        return [*self._shared_words(stage), *point.words(stage)]

    def _shared_words(self, stage: str) -> list[str]:
        return [each.word for each in self.shared if each.stage == stage]


def read_sweep(arguments: Sequence[str]) -> Sweep:
    """Read the command line of a sweep.

    Raises:
        ConfigError: It cannot be parsed or composed, or gives a stage values that the sweep does not have.
    """
    request = read_request(arguments)
    options = _options([*request.everywhere, *request.selecting])
    combinations = _combinations(options.grids, request.shared, request.axes)
    check_stages(options.then, request.shared, combinations)
    return Sweep(
        Path(request.folder).absolute(), options, named_points(combinations), request.shared, request.selecting,
        request.everywhere,
    )  # fmt: skip


def launcher_settings(sweep: Sweep) -> dict[str, Any] | None:
    """Give Hydra's settings of its submitit launcher where the sweep asks for Slurm; None for this machine.

    Raises:
        ConfigError: The sweep asks for another launcher.
    """
    composed = sweep.compose(sweep.points[0], with_hydra=True)
    settings = cast("dict[str, Any]", OmegaConf.to_container(composed.hydra.launcher, resolve=True))
    kind = str(settings["_target_"]).rpartition(".")[2]
    if kind not in ("BasicLauncher", "SlurmLauncher"):
        raise ConfigError(
            where="hydra/launcher", came=kind, expected="launcher=slurm, or none for this machine",
            todo="Leave it out; sweep.at_once=2 runs two points at a time.",
        )  # fmt: skip
    return settings if kind == "SlurmLauncher" else None


def _filled(word: str, as_text: str, values: Mapping[str, Any]) -> str:
    """Write key=${reference} with the reference's value: as a text null would be None, and a path with spaces two."""
    key, _, text = word.partition("=")
    reference = _OF_PRETRAINING.fullmatch(text)
    if reference is None:
        return as_text
    value: Any = values
    for part in reference[1].split("."):
        value = value[part]
    return f"{key}={in_grammar(value)}"


def _options(selecting: Sequence[str]) -> SweepOptions:
    """Read the sweep's file; what it takes from the points' pretraining stays unresolved here."""
    composed = compose_config(PRETRAIN, [*selecting, "run=."])
    values = cast("dict[str, Any]", OmegaConf.to_container(composed.sweep, resolve=False))
    return validate_config(PRETRAIN, {"sweep": values}, _File).sweep


def _grid_axes(grid: Mapping[str, Any]) -> dict[str, list[Setting]]:
    def axis(name: str, values: Any) -> list[Setting]:
        each = cast("list[Any]", values) if isinstance(values, list) else [values]
        if not each:
            raise ConfigError(
                where=f"sweep.grids: {name}", came="no value", expected="one at least",
                todo="Give it some, or leave it out.",
            )  # fmt: skip
        return [Setting(*stage_and_key(name), in_grammar(value)) for value in each]

    return {name: axis(name, values) for name, values in grid.items()}


def _combinations(
    grids: Sequence[Mapping[str, Any]], shared: Sequence[Setting], axes: Sequence[list[Setting]]
) -> list[tuple[Setting, ...]]:
    """Combine the grids with the values of the command line, which take the place of a grid's own.

    Where a key tells the grids apart (masking: one for tube and random, one for frame), values of theirs pick the
    grids that have them.
    """
    own = {each.label for each in [*shared, *itertools.chain(*axes)]}
    combinations: list[tuple[Setting, ...]] = []
    for grid in [_grid_axes(grid) for grid in grids] or [{}]:
        fixed = [_picked(grid, [each], grids) for each in shared]
        varied = [_picked(grid, axis, grids) for axis in axes]
        if all(fixed):
            rest = [values for name, values in grid.items() if name not in own]
            combinations += itertools.product(*rest, *varied)
    return list(dict.fromkeys(combinations)) if any(own & grid.keys() for grid in grids) else combinations


def _picked(
    grid: Mapping[str, Sequence[Setting]], given: list[Setting], grids: Sequence[Mapping[str, Any]]
) -> list[Setting]:
    """Leave of the values given for a key those that are a grid's, if the key tells the grids apart by them."""
    name = given[0].label
    of_grids = [{each.value for each in other[name]} for other in map(_grid_axes, grids) if name in other]
    told_apart = len(of_grids) > 1 and sum(map(len, of_grids)) == len(set[str | None]().union(*of_grids))
    known = set[str | None]().union(*of_grids)
    if name not in grid or not told_apart or not all(each.value in known for each in given):
        return given
    mine = {each.value for each in grid[name]}
    return [each for each in given if each.value in mine]
