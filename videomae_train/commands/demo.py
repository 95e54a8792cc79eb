"""`videomae demo`: the main job on generated videos, with the same verbs and recipes that users call."""

from __future__ import annotations

import csv
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from videomae_train.commands.demo_report import DemoResult, Trained, write_demo_report
from videomae_train.commands.pack import pack_with_progress
from videomae_train.config import verbs
from videomae_train.config.evaluate import evaluate
from videomae_train.config.grammar import quoted
from videomae_train.config.loader import compose_config, load_config
from videomae_train.config.outcome import TrainOutcome
from videomae_train.config.schema import EvaluateConfig, FinetuneConfig, PretrainConfig
from videomae_train.data.pack_plan import PackOptions
from videomae_train.data.sources import open_source
from videomae_train.data.synthetic import generate_motion_videos
from videomae_train.errors import ConfigError

Schema = TypeVar("Schema", bound=BaseModel)


@dataclass(frozen=True)
class DemoSize:
    """How much the demo does.

    Attributes:
        num_videos: Generated videos; a quarter of them is kept for the test.
        labels_per_class: Labelled training videos of each class.
        pretrain_steps: Optimizer steps of the pretraining.
        finetune_steps: Optimizer steps of each of the two classifiers.
    """

    num_videos: int
    labels_per_class: int
    pretrain_steps: int
    finetune_steps: int


MOTIONS_SHOWN = (
    "move_left",
    "move_right",
    "rotate_clockwise",
    "rotate_counterclockwise",
    "zoom_in",
    "zoom_out",
)
FULL = DemoSize(num_videos=480, labels_per_class=20, pretrain_steps=400, finetune_steps=100)
SHORT = DemoSize(num_videos=48, labels_per_class=2, pretrain_steps=12, finetune_steps=6)


def run_demo(out: Path, *, short: bool, seed: int) -> Path:
    """Generate, pack, pretrain, fine-tune, train from scratch, evaluate, report.

    Args:
        out: New or empty folder.
        short: Only show that the chain runs.
        seed: Of everything.

    Returns:
        The report page.

    Raises:
        ConfigError: The folder holds something already.
    """
    began = time.monotonic()
    size = SHORT if short else FULL
    _refuse_used(out)
    console = Console(file=sys.stderr, highlight=False)
    console.print(f"[bold]1/5[/bold] generate {size.num_videos} videos and pack them into shards")
    packed = make_motion_set(out, size.num_videos, seed, console)
    console.print("[bold]2/5[/bold] pretrain without labels, 90 % of each clip hidden")
    pretrained = _pretrain(out, packed, size, seed)
    trained: list[Trained] = []
    # Layer decay protects pretrained layers; from scratch there is nothing to protect, and it would only hinder.
    sources = {
        "pretrained": (f"weights={quoted(pretrained.weights)}",),
        "from scratch": ("model=tiny", "optim.layer_decay=1.0"),
    }
    for number, (name, source) in enumerate(sources.items(), start=3):
        console.print(f"[bold]{number}/5[/bold] classifier, {name}: {size.labels_per_class} labels per class")
        trained.append(_classify(out, packed, size, seed, name, source))
    console.print("[bold]5/5[/bold] pictures and report")
    result = DemoResult(out, packed, pretrained, tuple(trained), size.labels_per_class, short, seed)
    report = write_demo_report(result)
    _print_outcome(result, report, time.monotonic() - began)
    return report


def _refuse_used(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(
            where="--out", came=f"{out}, which holds something", expected="a new or empty folder",
            todo=f"Remove it (rm -r {out}) or give another with --out.",
        )  # fmt: skip


def make_motion_set(out: Path, num_videos: int, seed: int, console: Console) -> Path:
    """Generate labelled videos of motions in a folder and pack them; every fourth of a class is in split/test."""
    with Progress(
        TextColumn("[bold]generate"), BarColumn(), MofNCompleteColumn(), console=console, transient=True
    ) as bar:
        task = bar.add_task("generate", total=num_videos)
        videos = generate_motion_videos(
            out / "videos",
            num_videos=num_videos,
            seed=seed,
            classes=MOTIONS_SHOWN,
            on_progress=lambda done, _: bar.update(task, completed=done),
        )
    table = out / "videos.csv"
    _write_table(table, videos)
    packed = out / "shards"
    pack_with_progress(open_source(table), packed, PackOptions(seed=seed))
    return packed


def _write_table(path: Path, videos: Sequence[Path]) -> None:
    """List the videos with their classes; the column `split` keeps every fourth of a class for the test."""
    counts: Counter[str] = Counter()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for video in videos:
            label = video.parent.name
            counts[label] += 1
            part = "test" if counts[label] % 4 == 0 else "train"
            writer.writerow([video.relative_to(path.parent).as_posix(), label, part])


def _pretrain(out: Path, packed: Path, size: DemoSize, seed: int) -> TrainOutcome:
    outcome = verbs.pretrain(
        configured(
            "pretrain",
            PretrainConfig,
            "experiment=pretrain_demo",
            f"data.path={quoted(packed)}",
            f"run={quoted(out / 'pretrain')}",
            f"optim.steps={size.pretrain_steps}",
            f"optim.warmup_steps={size.pretrain_steps // 10}",
            f"seed={seed}",
        )
    )
    _stop_if_asked(outcome)
    return outcome


def _stop_if_asked(outcome: TrainOutcome) -> None:
    if outcome.preempted_by is not None:
        raise KeyboardInterrupt


def _classify(
    out: Path, packed: Path, size: DemoSize, seed: int, name: str, source: tuple[str, ...]
) -> Trained:
    folder = out / name.replace(" ", "-")
    outcome = verbs.finetune(
        configured(
            "finetune",
            FinetuneConfig,
            "experiment=finetune_demo",
            *source,
            f"data.path={quoted(packed)}",
            f"data.per_class={size.labels_per_class}",
            f"run={quoted(folder)}",
            f"optim.steps={size.finetune_steps}",
            f"optim.warmup_steps={size.finetune_steps // 10}",
            f"seed={seed}",
        )
    )
    _stop_if_asked(outcome)
    evaluation = evaluate(
        configured(
            "evaluate",
            EvaluateConfig,
            f"weights={quoted(outcome.weights)}",
            f"data.path={quoted(packed)}",
            "data.selection=split/test",
            "data.stride=2",
            f"run={quoted(folder / 'evaluation')}",
            "data.num_clips=2",
            "data.num_crops=1",
            "loader.num_workers=1",
        )
    )
    assert evaluation is not None, "there is one rank"
    return Trained(name, outcome, evaluation.accuracy)


def configured(verb: str, schema: type[Schema], *overrides: str) -> Schema:
    """Compose and validate a verb's configuration as its command line would."""
    return load_config(verb, compose_config(verb, overrides), schema)


def _print_outcome(result: DemoResult, report: Path, seconds: float) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print()
    for line in result.sentences():
        console.print(line, markup=False)
    console.print(
        f"\nTook {seconds / 60:.1f} minutes. Look at [bold]{report}[/bold] (a page for any browser)."
    )
