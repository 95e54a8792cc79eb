"""Where the runs of sweeps lie: what earlier starts and other sweeps have, and references to it in points' folders."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from videomae_train.commands.sweep_record import SUMMARY
from videomae_train.config.sweep_folders import place_in
from videomae_train.config.sweep_plan import SweepPlan
from videomae_train.data.layout import write_json
from videomae_train.errors import ConfigError

Taken = TypeVar("Taken")

_REFERENCE = "stage.json"
_FINISHED = ("metrics.json", "run.json")
_BEGUN = (*_FINISHED, "recipe.json", "attempt.json")


def known_places(folder: Path, reuse: Sequence[str] = ()) -> dict[str, str]:
    """Find runs that are there: those that earlier starts of a sweep began, and what other sweeps have finished.

    Args:
        folder: The sweep's.
        reuse: Folders of other sweeps.

    Returns:
        Identity -> folder of the run, relative to the sweep's. What a sweep has begun itself comes first; a run of
        another sweep that is gone is none, lest it be made anew in a folder that is not this sweep's.

    Raises:
        ConfigError: A sweep.json is not what was written, or a folder to reuse has none.
    """
    own = {
        identity: place
        for identity, place in _recorded_places(folder).items()
        if _has(folder / place, _FINISHED if place.startswith("../") else _BEGUN)
    }
    others = {
        identity: place_in(folder, Path(other) / place)
        for other in reuse
        for identity, place in _recorded_places(_existing(Path(other))).items()
        if _has(Path(other) / place, _FINISHED)
    }
    return {**others, **own}


def refer_to_shared(folder: Path, plan: SweepPlan) -> None:
    """Write into the points' folders where those of their stages lie that are not there.

    Raises:
        ConfigError: A run lies where a reference would have to.
    """
    stages = [
        (folder / planned.point.name / stage.verb, stage)
        for planned in plan.points
        for stage in planned.stages
    ]
    if taken := sorted(str(own) for own, stage in stages if own != stage.folder and _has(own, _BEGUN)):
        raise ConfigError(
            where=str(folder), came=f"{len(taken)} runs of another recipe, such as {taken[0]}",
            expected="points whose runs, or none, lie in their folders",
            todo="Give another run=<folder>, or remove these runs.",
        )  # fmt: skip
    for own, stage in stages:
        if own == stage.folder:
            (own / _REFERENCE).unlink(missing_ok=True)  # of a run elsewhere that is gone
            continue
        own.mkdir(parents=True, exist_ok=True)
        write_json(
            own / _REFERENCE, {"run": os.path.relpath(os.path.realpath(stage.folder), os.path.realpath(own))}
        )


def _existing(other: Path) -> Path:
    if not (other / SUMMARY).is_file():
        raise ConfigError(
            where="sweep.reuse", came=str(other), expected=f"the folder of a sweep, with its {SUMMARY}",
            todo="Leave it out, or name the folder that the other sweep's run= named.",
        )  # fmt: skip
    return other


def _has(run: Path, files: Sequence[str]) -> bool:
    return any((run / name).is_file() for name in files)


def known_arrays(folder: Path) -> list[str]:
    """Give the Slurm job arrays that earlier starts of a sweep submitted.

    Raises:
        ConfigError: Its sweep.json is not what was written.
    """
    return _recorded(folder, lambda record: list(record.get("arrays", [])), [])


def _recorded_places(folder: Path) -> dict[str, str]:
    return _recorded(folder, lambda record: dict(record["runs"]), {})


def _recorded(folder: Path, take: Callable[[dict[str, Any]], Taken], absent: Taken) -> Taken:
    file = folder / SUMMARY
    try:
        return take(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return absent
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            where=str(file), came=f"no record of a sweep ({error})", expected="the file as a sweep wrote it",
            todo="Restore it, or give another run=<folder>.",
        ) from error  # fmt: skip
