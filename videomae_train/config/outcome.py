"""What a training verb left behind: as a value, and as run.json of the run's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from videomae_train.config.schema import TrainingConfig
from videomae_train.data.layout import write_json

BEST_WEIGHTS = "weights-best"  # folder of a run, beside weights/ of its last step
_SUMMARY = "run.json"


@dataclass(frozen=True)
class TrainOutcome:
    """What a training verb left behind.

    Attributes:
        weights: The weights folder; not written, or an older one, where `preempted_by` names a signal.
        steps: Optimizer steps of the run, over all attempts.
        seconds: Wall-clock seconds of this attempt.
        latest: The last report: train/loss and its companions, and with validation val/top1 and its companions,
            val/best_top1 and val/best_step; empty where this attempt had nothing left to do.
        baselines: Losses that need no model, for pretraining: predict_mean, copy_nearest.
        preempted_by: Name of the signal that stopped the run before its end, such as SIGUSR1; its newest checkpoint is
            of the last step.
        was_finished: The run had ended before, and nothing was done.
        first_step: Optimizer steps that were there when this attempt began.
    """

    weights: Path
    steps: int
    seconds: float
    latest: Mapping[str, float]
    baselines: Mapping[str, float]
    preempted_by: str | None = None
    was_finished: bool = False
    first_step: int = 0


def write_outcome(run: Path, verb: str, outcome: TrainOutcome, num_faults: int) -> None:
    """Write run.json, which says that the run is finished."""
    summary = {
        "verb": verb,
        "steps": outcome.steps,
        "seconds": round(outcome.seconds, 1),
        "num_faults": num_faults,
        "latest": dict(outcome.latest),
        "baselines": dict(outcome.baselines),
    }
    write_json(run / _SUMMARY, summary, indent=1)


def has_ended(run: Path) -> bool:
    """Say whether a run has come to its end once; it may have been asked to go on since."""
    return (run / _SUMMARY).is_file()


def finished_outcome(config: TrainingConfig, total_steps: int) -> TrainOutcome | None:
    """Return what a run that has reached its last step left behind, and None for one that has not.

    A finished run that is extended has more steps, and so is unfinished again.
    """
    file = config.run / _SUMMARY
    if config.resume == "never" or not file.is_file():
        return None
    summary = json.loads(file.read_text())
    weights = config.run / "weights"
    if summary["steps"] != total_steps or not weights.is_dir():
        return None
    return TrainOutcome(
        weights,
        total_steps,
        summary["seconds"],
        summary["latest"],
        summary["baselines"],
        was_finished=True,
    )
