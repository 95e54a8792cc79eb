"""The verbs that take Hydra overrides: compose, validate, run, say where the results are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from omegaconf import DictConfig
from pydantic import BaseModel
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console

from videomae_train.commands.evaluate import run_evaluate, run_evaluate_splits
from videomae_train.commands.sweep import run_sweep
from videomae_train.config import verbs
from videomae_train.config.knn import NeighboursConfig
from videomae_train.config.loader import (
    compose_config,
    load_config,
    names_only_a_run,
    resolve_config,
    run_composed,
    run_folder,
    task_overrides,
    validate_config,
)
from videomae_train.config.neighbours import probe_neighbours
from videomae_train.config.outcome import TrainOutcome
from videomae_train.config.recipe import check_verb, read_record
from videomae_train.config.reconstruct import reconstruct
from videomae_train.config.schema import EvaluateConfig, FinetuneConfig, PretrainConfig, ReconstructConfig
from videomae_train.config.splits import quote_places, split_configs
from videomae_train.config.sweep import asks_for_sweep
from videomae_train.config.validation import BEST_WEIGHTS
from videomae_train.evaluation.scoring import Accuracy
from videomae_train.training.checkpoint_files import newest_checkpoint
from videomae_train.training.preemption import exit_code_after
from videomae_train.training.requeue import requeue_after

Schema = TypeVar("Schema", bound=BaseModel)
Training = TypeVar("Training", PretrainConfig, FinetuneConfig)


def run_hydra_verb(verb: str, arguments: Sequence[str]) -> None:
    """Run a verb with the arguments that stand behind it on the command line.

    Raises:
        ConfigError: The request was wrong.
        VideoMAETrainError: The run failed.
    """
    arguments = quote_places(arguments)
    if verb == "pretrain" and asks_for_sweep(arguments):
        run_sweep(arguments)
        return
    if not any(argument.startswith("-") for argument in arguments):
        compose_config(verb, arguments)  # raises what Hydra's own command line would print less clearly
    run_composed(verb, arguments, _JOBS[verb])


def _pretrain(mapping: DictConfig) -> None:
    config = _load_training("pretrain", mapping, PretrainConfig)
    _say(f"Masks: {config.masking.summary(config.model.grid)}")
    outcome = verbs.pretrain(config)
    _end_training(config.run, outcome)


def _finetune(mapping: DictConfig) -> None:
    config = _load_training("finetune", mapping, FinetuneConfig)
    outcome = verbs.finetune(config)
    _end_training(config.run, outcome)


def _probe(mapping: DictConfig) -> None:
    if "knn" in mapping:
        neighbours = _load("probe", mapping, NeighboursConfig)
        _say_score(neighbours, probe_neighbours(neighbours))
        return
    config = _load_training("probe", mapping, FinetuneConfig)
    _end_training(config.run, verbs.finetune(config, "probe"))


def _evaluate(mapping: DictConfig) -> None:
    mapping.run = str(run_folder())
    values = resolve_config("evaluate", mapping)
    configs = split_configs(values)
    if configs is None:
        run_evaluate(validate_config("evaluate", values, EvaluateConfig))
    else:
        run_evaluate_splits(configs, run_folder())


def _say_score(config: NeighboursConfig, accuracy: Accuracy | None) -> None:
    if accuracy is None:  # another rank says it
        return
    top5 = "" if accuracy.top5 is None else f" · top-5 {accuracy.top5:.4f}"
    low, high = accuracy.top1_interval
    _say(
        f"top-1 {accuracy.top1:.4f} (95 % interval {low:.4f} to {high:.4f}){top5}"
        f" · mean class accuracy {accuracy.mean_class:.4f}"
        f" · on {accuracy.num_scored} of {accuracy.num_videos} videos,"
        f" {config.data.num_clips} x {config.data.num_crops} views",
        f"Scores and figures: {config.run}",
    )


def _reconstruct(mapping: DictConfig) -> None:
    pictures = reconstruct(_load("reconstruct", mapping, ReconstructConfig))
    losses = " · ".join(f"{ratio:.0%} hidden: loss {loss:.3f}" for ratio, loss in pictures.losses.items())
    _say(losses, f"Pictures: {pictures.strip}, {pictures.mp4}, {pictures.gif}")


_JOBS: dict[str, Callable[[DictConfig], None]] = {
    "pretrain": _pretrain,
    "finetune": _finetune,
    "probe": _probe,
    "evaluate": _evaluate,
    "reconstruct": _reconstruct,
}


def _load(verb: str, mapping: DictConfig, schema: type[Schema]) -> Schema:
    """Validate, with the folder that Hydra decided: ranks started later would interpolate another time of day."""
    mapping.run = str(run_folder())
    return load_config(verb, mapping, schema)


def _load_training(verb: str, mapping: DictConfig, schema: type[Training]) -> Training:
    """Load as `_load`; `run=<folder>` and nothing else loads what is recorded there, to go on with it."""
    record = read_record(run_folder()) if names_only_a_run(task_overrides()) else None
    if record is None:
        return _load(verb, mapping, schema)
    check_verb(run_folder(), verb, record)
    return validate_config(verb, {**record.config, "run": str(run_folder()), "resume": "auto"}, schema)


def _end_training(run: Path, outcome: TrainOutcome) -> None:
    """Say what came of it; a run that a signal stopped ends the process with a code that says so, on rank 0."""
    if outcome.preempted_by is None:
        _say_trained(run, outcome)
    elif rank_zero_only.rank == 0:  # pyright: ignore[reportFunctionMemberAccess]
        checkpoint = newest_checkpoint(run / "checkpoints")
        _say(
            f"Stopped by {outcome.preempted_by} at step {outcome.steps}, checkpoint {checkpoint}.",
            f"The same command with resume=auto goes on, and so does run={run} alone.",
        )
        if (job := requeue_after(outcome.preempted_by)) is not None:
            _say(f"Slurm starts job {job} again.")
        # Other ranks end well: Lightning kills a run in which one of those it started does not.
        sys.exit(exit_code_after(outcome.preempted_by))


def _say_trained(run: Path, outcome: TrainOutcome) -> None:
    if outcome.was_finished:
        _say(f"This run is finished: {outcome.steps} steps. Nothing was done.", f"Weights: {outcome.weights}")
        return
    loss = f", loss {outcome.latest['train/loss']:.4f}" if "train/loss" in outcome.latest else ""
    mean = f" (predicting the mean: {outcome.baselines['predict_mean']:.4f})" if outcome.baselines else ""
    _say(
        f"{outcome.steps} steps in {outcome.seconds:.0f} s{loss}{mean}",
        f"Weights: {outcome.weights}",
        *_best_line(run, outcome),
        f"Run: {run}",
    )


def _best_line(run: Path, outcome: TrainOutcome) -> list[str]:
    if "val/best_top1" not in outcome.latest:
        return []
    top1, step = outcome.latest["val/best_top1"], outcome.latest["val/best_step"]
    return [f"Best in validation: {run / BEST_WEIGHTS} (top-1 {top1:.4f} at step {step:.0f})"]


@rank_zero_only
def _say(*lines: str) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        console.print(line, markup=False)
