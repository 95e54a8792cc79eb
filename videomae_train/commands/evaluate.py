"""What `videomae evaluate` shows: how far it is, scores with all they stand on, and the mean over splits."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from omegaconf import DictConfig
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from videomae_train.commands.messages import say
from videomae_train.config.devices import with_workers
from videomae_train.config.evaluate import (
    Evaluation,
    SplitsEvaluation,
    Spread,
    evaluate,
    evaluate_splits,
)
from videomae_train.config.loader import resolve_config, run_folder, validate_config
from videomae_train.config.schema import EvaluateConfig
from videomae_train.config.splits import split_configs
from videomae_train.types import EvaluationBatch

_SECONDS_BETWEEN_PLAIN_LINES = 20.0


def run_evaluate(mapping: DictConfig) -> None:
    """Score the classifier of one split, or of each of several, and say what came of it."""
    mapping.run = str(run_folder())  # ranks started later would name it after their own clock
    values = resolve_config("evaluate", mapping)
    configs = split_configs(values)
    if configs is None:
        _evaluate_one(_settled(validate_config("evaluate", values, EvaluateConfig)))
    else:
        _evaluate_splits({split: _settled(config) for split, config in configs.items()}, run_folder())


def _settled(config: EvaluateConfig) -> EvaluateConfig:
    """Share the processors of this machine among the ranks, where the loader leaves that to it."""
    return config.model_copy(update={"loader": with_workers(config.loader, config.devices)})


def _evaluate_one(config: EvaluateConfig) -> None:
    evaluation = evaluate(config, show=_with_progress)
    if evaluation is not None:  # another rank says it
        say(*_lines(config, evaluation), f"Scores and figures: {config.run}")


def _evaluate_splits(configs: dict[str, EvaluateConfig], run: Path) -> None:
    def say_split(split: str, evaluation: Evaluation) -> None:
        say(f"Split {split}", *(f"  {line}" for line in _lines(configs[split], evaluation)))

    result = evaluate_splits(configs, run, show=_with_progress, on_scored=say_split)
    if result is not None:
        Console(highlight=False).print(_table(result))
        say(f"Scores and figures: {run}")


def _lines(config: EvaluateConfig, evaluation: Evaluation) -> list[str]:
    accuracy, weights = evaluation.accuracy, evaluation.weights
    low, high = accuracy.top1_interval
    top5 = "" if accuracy.top5 is None else f" · top-5 {accuracy.top5:.4f}"
    remarks = weights.remarks(accuracy.num_videos)
    unreadable = accuracy.num_videos - accuracy.num_scored
    return [
        f"top-1 {accuracy.top1:.4f} (95 % interval {low:.4f} to {high:.4f} over {accuracy.interval_over}){top5}"
        f" · mean class accuracy {accuracy.mean_class:.4f}"
        f" · on {accuracy.num_scored} of {accuracy.num_videos} videos",
        f"Videos: {config.data.selection} of {config.data.path}; {evaluation.views}",
        f"Weights: {config.weights}; {weights.words}",
        *([f"Beware: weights {remarks}."] if remarks else []),
        *([f"Unreadable: {unreadable}, listed in {config.run / 'metrics.json'}"] if unreadable else []),
        *([f"Model card: {evaluation.card}"] if evaluation.card else []),
    ]


def _table(result: SplitsEvaluation) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("split", "top-1", "95 % interval", "top-5", "mean class", "videos"):
        table.add_column(name, justify="left" if name == "split" else "right")
    for split, evaluation in result.splits.items():
        accuracy = evaluation.accuracy
        low, high = accuracy.top1_interval
        table.add_row(
            split, f"{accuracy.top1:.4f}", f"{low:.4f} to {high:.4f}",
            "-" if accuracy.top5 is None else f"{accuracy.top5:.4f}", f"{accuracy.mean_class:.4f}",
            f"{accuracy.num_scored} of {accuracy.num_videos}",
        )  # fmt: skip
    table.add_section()
    for name, part in (("mean", "mean"), ("std over splits", "std")):
        cells = [_cell(spread, part) for spread in (result.top1, result.top5, result.mean_class)]
        table.add_row(name, cells[0], "", cells[1], cells[2], "", style="bold" if part == "mean" else "")
    return table


def _cell(spread: Spread | None, part: str) -> str:
    value = None if spread is None else spread.mean if part == "mean" else spread.std
    return "-" if value is None else f"{value:.4f}"


def _with_progress(batches: Iterable[EvaluationBatch], num_videos: int) -> Iterator[EvaluationBatch]:
    """Count the videos of this rank on a bar, or in plain lines now and then where there is no terminal."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (TextColumn("evaluate"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    done, printed_at = 0, time.monotonic()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("evaluate", total=num_videos)
        for batch in batches:
            yield batch
            done += len(batch.labels) + len(batch.faults)
            bar.update(task, completed=done)
            if not console.is_terminal and time.monotonic() - printed_at > _SECONDS_BETWEEN_PLAIN_LINES:
                printed_at = time.monotonic()
                print(f"evaluate {done}/{num_videos}", file=sys.stderr)
