"""The stages that a sweep's points have, and what may be said of each."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from videomae_train.config.sweep_points import FROM_SCRATCH, PRETRAIN, Setting
from videomae_train.errors import ConfigError

LATER = ("finetune", "probe", "evaluate")  # as they can follow each other


def check_stages(
    then: Sequence[str], shared: Sequence[Setting], combinations: Sequence[Sequence[Setting]]
) -> None:
    """Refuse stages that cannot be, and values of a stage that nothing would take.

    Args:
        then: Stages after the pretraining.
        shared: Values that are the same at every point.
        combinations: Those of each point.

    Raises:
        ConfigError: There are some.
    """
    if not combinations:
        raise ConfigError(
            where="sweep", came="no point: each grid is left out by some value of the command line",
            expected="one at least", todo="Leave out one of the values that choose among the grids.",
        )  # fmt: skip
    if twice := sorted({stage for stage in then if then.count(stage) > 1}):
        raise ConfigError(
            where="sweep.then", came=f"[{','.join(then)}], {', '.join(twice)} twice",
            expected="each stage once: a point has one folder for each",
            todo="Leave one out; values of one stage that differ are points: finetune.seed=0,1.",
        )  # fmt: skip
    given = {each.stage for each in [*shared, *itertools.chain(*combinations)]} - {PRETRAIN, *then}
    if others := [stage for stage in LATER if stage in given]:
        wanted = [stage for stage in LATER if stage in {*then, *others}]
        raise ConfigError(
            where="sweep.then",
            came=f"[{','.join(then)}], and values for {', '.join(others)}",
            expected="values for stages that the sweep has",
            todo=f"Add them: 'sweep.then=[{','.join(wanted)}]'.",
        )
    for combination in combinations:
        _check_point(then, [*shared, *combination])


def _check_point(then: Sequence[str], settings: Sequence[Setting]) -> None:
    is_pretrained = FROM_SCRATCH not in settings
    if not is_pretrained and not then:
        raise ConfigError(
            where="sweep.then", came="[], and a point without pretraining", expected="a stage at least",
            todo="Add 'sweep.then=[finetune,evaluate]'.",
        )  # fmt: skip
    for each in settings:
        key = each.key.lstrip("~+")
        if each.stage == PRETRAIN:
            continue
        if key in ("run", "resume"):
            raise ConfigError(
                where=each.label, came=str(each.value), expected="nothing: the sweep places its runs",
                todo="Leave it out; run=<folder> is the whole sweep's.",
            )  # fmt: skip
        if key == "weights" and (is_pretrained or each.stage != then[0]):
            raise ConfigError(
                where=each.label, came=f"{each.value}, where a stage before it trains the weights",
                expected="nothing: a point's later stages take them from there",
                todo="Leave it out; a grid with pretrain: null begins with weights that are there (docs/sweeps.md).",
            )  # fmt: skip
