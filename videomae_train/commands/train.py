"""`videomae pretrain`, `finetune` and `probe` where it trains: validate, run, say where the results are.

Lightning is imported when the values have proved right.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Literal, TypeVar

from omegaconf import DictConfig

from videomae_train.commands.messages import say
from videomae_train.config.clips import clips_of_training, scoring_words
from videomae_train.config.grammar import quoted
from videomae_train.config.loader import (
    load_job,
    names_only_a_run,
    run_folder,
    task_overrides,
    validate_config,
)
from videomae_train.config.outcome import BEST_WEIGHTS, TrainOutcome
from videomae_train.config.recipe import check_verb, read_record
from videomae_train.config.schema import FinetuneConfig, PretrainConfig
from videomae_train.model.cards import TrainedClips
from videomae_train.start_up import importing
from videomae_train.training.checkpoint_files import newest_checkpoint
from videomae_train.training.preemption import exit_code_after
from videomae_train.training.requeue import requeue_after
from videomae_train.training.starters import global_rank

Training = TypeVar("Training", PretrainConfig, FinetuneConfig)


def run_pretrain(mapping: DictConfig) -> None:
    """Pretrain, and say what came of it."""
    config = _load_training("pretrain", mapping, PretrainConfig)
    say(f"Masks: {config.masking.summary(config.model.grid)}")
    with importing():
        from videomae_train.config import verbs

    _end_training(config.run, verbs.pretrain(config))


def run_finetune(verb: Literal["finetune", "probe"], mapping: DictConfig) -> None:
    """Fine-tune, or train a probe's head, and say what came of it."""
    config = _load_training(verb, mapping, FinetuneConfig)
    with importing():
        from videomae_train.config import verbs

    outcome = verbs.finetune(config, verb)
    _end_training(config.run, outcome)
    if outcome.preempted_by is None and global_rank() == 0:
        say(f"Score: {' '.join(_scoring_command(config, outcome))}")


def _scoring_command(config: FinetuneConfig, outcome: TrainOutcome) -> list[str]:
    """Write the command that scores the weights on clips like those they were trained on."""
    defaults = scoring_words(TrainedClips(False, 4, None, antialias=True))  # configs/data/evaluate.yaml
    selection = config.data.val_selection or "<split/part>"
    return [
        *("videomae", "evaluate", f"weights={quoted(outcome.weights)}"),
        *(f"data.path={quoted(config.data.path)}", f"data.selection={selection}"),
        *(word for word in scoring_words(clips_of_training(config.data)) if word not in defaults),
    ]


def _load_training(verb: str, mapping: DictConfig, schema: type[Training]) -> Training:
    """Load as `load_job`; `run=<folder>` and nothing else loads what is recorded there, to go on with it."""
    record = read_record(run_folder()) if names_only_a_run(task_overrides()) else None
    if record is None:
        return load_job(verb, mapping, schema)
    check_verb(run_folder(), verb, record)
    return validate_config(verb, {**record.config, "run": str(run_folder()), "resume": "auto"}, schema)


def _end_training(run: Path, outcome: TrainOutcome) -> None:
    """Say what came of it; a run that a signal stopped ends the process with a code that says so, on rank 0."""
    if outcome.preempted_by is None:
        _say_trained(run, outcome)
    elif global_rank() == 0:
        checkpoint = newest_checkpoint(run / "checkpoints")
        say(
            f"Stopped by {outcome.preempted_by} at step {outcome.steps}, checkpoint {checkpoint}.",
            f"The same command with resume=auto goes on, and so does {shlex.quote(f'run={quoted(run)}')} alone.",
        )
        if (job := requeue_after(outcome.preempted_by)) is not None:
            say(f"Slurm starts job {job} again.")
        # Other ranks end well: Lightning kills a run in which one of those it started does not.
        sys.exit(exit_code_after(outcome.preempted_by))


def _say_trained(run: Path, outcome: TrainOutcome) -> None:
    if outcome.was_finished:
        say(f"This run is finished: {outcome.steps} steps. Nothing was done.", f"Weights: {outcome.weights}")
        return
    loss = f", loss {outcome.latest['train/loss']:.4f}" if "train/loss" in outcome.latest else ""
    mean = f" (predicting the mean: {outcome.baselines['predict_mean']:.4f})" if outcome.baselines else ""
    here = f", the last {outcome.steps - outcome.first_step} of them" if outcome.first_step else ""
    say(
        f"{outcome.steps} steps{here} in {outcome.seconds:.0f} s{loss}{mean}",
        f"Weights: {outcome.weights}",
        *_best_line(run, outcome),
        f"Run: {run}",
    )


def _best_line(run: Path, outcome: TrainOutcome) -> list[str]:
    if "val/best_top1" not in outcome.latest:
        return []
    top1, step = outcome.latest["val/best_top1"], outcome.latest["val/best_step"]
    return [f"Best in validation: {run / BEST_WEIGHTS} (top-1 {top1:.4f} at step {step:.0f})"]
