"""Train the same recipe briefly in each of its cheaper ways, and print what each is worth beside the exact one.

python scripts/compare_decoders.py runs/compared experiment=pretrain_tiny data.path=$DATA optim.steps=1500

Each way is a `videomae pretrain` of its own with the same videos, seed, schedule and number of optimizer steps.
Printed: seconds and clips per second of the run, its most memory, and the loss over all hidden tokens of the same
videos under the same masks, which every way computes alike: training losses of parts of them would not compare.

python scripts/compare_decoders.py runs/compared model=small data.path=$DATA trainer.micro_batch=4 --speed

trains nothing to an end: all ways take turns for some seconds each, loader, step and loop together, so that their
speeds compare.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from videomae_train.benchmarks.alternating import Spread, in_turn
from videomae_train.benchmarks.step import spread_text
from videomae_train.commands.bench_setting import MeasuredSetting
from videomae_train.config import build
from videomae_train.config.loader import compose_config, load_config
from videomae_train.config.schema import PretrainConfig
from videomae_train.model import VideoMAEForPreTraining
from videomae_train.types import PretrainBatch

WAYS = {
    "exact, joint": ["data.views=1"],
    "dual masking": ["data.views=1", "masking/decode=running_cell"],
    "cross, 25 %": [
        "data.views=1",
        "masking/decode=share",
        "masking.decode.share=0.25",
        "model.decoder_kind=cross",
    ],
    "cross, 50 %": [
        "data.views=1",
        "masking/decode=share",
        "masking.decode.share=0.5",
        "model.decoder_kind=cross",
    ],
    "exact, 4 views of a decode": ["data.views=4"],
}
VIEWS = 4
VIDEOS = 32


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the runs go")
    parser.add_argument(
        "overrides", nargs="+", help="of videomae pretrain; the batch is that of the exact way"
    )
    parser.add_argument("--speed", action="store_true", help="only how fast each way is, in turn")
    parser.add_argument("--rounds", type=int, default=5, help="of --speed: turns of each way")
    parser.add_argument("--seconds", type=float, default=10.0, help="of --speed: of a turn")
    given = parser.parse_args()
    if given.speed:
        compare_speeds(given.folder, given.overrides, given.rounds, given.seconds)
    else:
        compare_losses(given.folder, given.overrides)


def compare_losses(folder: Path, overrides: list[str]) -> None:
    """Train every way to its end."""
    batch = videos_to_score(overrides)
    print("| way | seconds | clips/s | GiB | loss over all hidden tokens |\n|---|---|---|---|---|")
    for name, way in WAYS.items():
        run = folder / name.replace(",", "").replace(" %", "").replace(" ", "-")
        summary = train(run, [*overrides, *way, *fewer_videos(overrides, way)])
        latest, loss = summary["latest"], loss_of(run / "weights", batch)
        print(
            f"| {name} | {summary['seconds']:.0f} | {latest['train/views_per_sec']:.1f}"
            f" | {latest['train/memory_gib']:.2f} | {loss:.4f} |",
            flush=True,
        )


def compare_speeds(folder: Path, overrides: list[str], rounds: int, seconds: float) -> None:
    """Let the ways take turns; a turn's first step is not timed."""
    settings = {
        name: MeasuredSetting(
            [*overrides, *way, *fewer_videos(overrides, way)], folder / str(number), micro_batches=1
        )
        for number, (name, way) in enumerate(WAYS.items())
    }

    def turn(setting: MeasuredSetting) -> Callable[[int], float]:
        return lambda number: setting.fit(seconds).step_sec / setting.clips

    timings = in_turn({name: turn(setting) for name, setting in settings.items()}, rounds)
    print("| way | clips/s | times |\n|---|---|---|")
    for name in WAYS:
        rate = Spread.of(1 / timings.seconds[name])
        print(f"| {name} | {spread_text(rate)} | {spread_text(timings.ratio(name, next(iter(WAYS))))} |")


def config_of(overrides: list[str]) -> PretrainConfig:
    return load_config("pretrain", compose_config("pretrain", ["run=unused", *overrides]), PretrainConfig)


def fewer_videos(overrides: list[str], way: list[str]) -> list[str]:
    """Keep the clips of a step: with several views of each video, as many times fewer videos, at the same rate."""
    if f"data.views={VIEWS}" not in way:
        return []
    config = config_of(overrides)
    assert isinstance(config.trainer.micro_batch, int), "trainer.micro_batch=auto has nothing to divide"
    return [
        f"optim.global_batch={config.optim.global_batch // VIEWS}",
        f"trainer.micro_batch={max(config.trainer.micro_batch // VIEWS, 1)}",
        f"optim.base_lr={config.optim.base_lr * VIEWS}",
        f"optim.min_lr={config.optim.min_lr * VIEWS}",
    ]


def videos_to_score(overrides: list[str]) -> PretrainBatch:
    return build.pretrain_data(config_of([*overrides, *WAYS["exact, joint"]])).first_videos(VIDEOS)


def train(run: Path, overrides: list[str]) -> dict[str, Any]:
    """Train in a process of its own, which has a peak of memory of its own."""
    command = [sys.executable, "-m", "videomae_train.cli", "pretrain", *overrides, f"run={run}"]
    subprocess.run([*command, "logger=disabled"], check=True, stdout=sys.stderr)
    return json.loads((run / "run.json").read_text())


def loss_of(weights: Path, batch: PretrainBatch) -> float:
    model = VideoMAEForPreTraining.from_pretrained(weights)
    with torch.no_grad():
        return float(model.training_loss(batch.clips, batch.visible_idx, batch.hidden_idx))


if __name__ == "__main__":
    main()
