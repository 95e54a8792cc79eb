"""The verbs that take Hydra overrides: compose, validate, run, say where the results are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from omegaconf import DictConfig
from pydantic import BaseModel
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console

from videomae_train.config import verbs
from videomae_train.config.loader import compose_config, load_config, run_composed, run_folder
from videomae_train.config.reconstruct import reconstruct
from videomae_train.config.schema import EvaluateConfig, FinetuneConfig, PretrainConfig, ReconstructConfig

Schema = TypeVar("Schema", bound=BaseModel)


def run_hydra_verb(verb: str, arguments: Sequence[str]) -> None:
    """Run a verb with the arguments that stand behind it on the command line.

    Raises:
        ConfigError: The request was wrong.
        VideoMAETrainError: The run failed.
    """
    if not any(argument.startswith("-") for argument in arguments):
        compose_config(verb, arguments)  # raises what Hydra's own command line would print less clearly
    run_composed(verb, arguments, _JOBS[verb])


def _pretrain(mapping: DictConfig) -> None:
    config = _load("pretrain", mapping, PretrainConfig)
    _say(f"Masks: {config.masking.summary(config.model.grid)}")
    outcome = verbs.pretrain(config)
    _say_trained(config.run, outcome)


def _finetune(mapping: DictConfig) -> None:
    config = _load("finetune", mapping, FinetuneConfig)
    outcome = verbs.finetune(config)
    _say_trained(config.run, outcome)


def _evaluate(mapping: DictConfig) -> None:
    config = _load("evaluate", mapping, EvaluateConfig)
    accuracy = verbs.evaluate(config)
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
    "evaluate": _evaluate,
    "reconstruct": _reconstruct,
}


def _load(verb: str, mapping: DictConfig, schema: type[Schema]) -> Schema:
    """Validate, with the folder that Hydra decided: ranks started later would interpolate another time of day."""
    mapping.run = str(run_folder())
    return load_config(verb, mapping, schema)


def _say_trained(run: Path, outcome: verbs.TrainOutcome) -> None:
    loss = f", loss {outcome.latest['train/loss']:.4f}" if outcome.latest else ""
    mean = f" (predicting the mean: {outcome.baselines['predict_mean']:.4f})" if outcome.baselines else ""
    _say(
        f"{outcome.steps} steps in {outcome.seconds:.0f} s{loss}{mean}",
        f"Weights: {outcome.weights}",
        f"Run: {run}",
    )


@rank_zero_only
def _say(*lines: str) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        console.print(line, markup=False)
