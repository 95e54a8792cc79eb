"""Kill training runs at random moments, resume them, and compare the end with that of a run left alone.

python scripts/soak_train.py --runs 20 --saves 100
python scripts/soak_train.py --verb finetune --runs 20 --saves 0

Runs train on generated videos. Most are killed and resumed on one rank, every fourth on two, and must end bit for bit
as an uninterrupted run on as many ranks; every other fourth is killed on one rank and resumed on two, and must take
the same samples. Pretraining computes in float64, and must then end in the same weights within 1e-9; fine-tuning has
every augmentation on, computes in bf16, and draws other mixtures on another number of ranks.
Then saves alone are killed, and some find the disk full: there must always be an intact checkpoint to load.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from videomae_train import cli
from videomae_train.data.pack_plan import PackOptions
from videomae_train.data.packing import pack
from videomae_train.data.sources import open_source
from videomae_train.data.synthetic import generate_motion_videos
from videomae_train.errors import CheckpointError
from videomae_train.training.checkpoint_files import (
    checkpoint_path,
    choose_checkpoint,
    keep_newest,
    newest_checkpoint,
    step_of,
    tidy_checkpoints,
    write_checkpoint,
)
from videomae_train.training.ledger import read_ledger
from videomae_train.training.records import LEDGER, read_metric

STEPS = 24
RECIPE = [
    "model=tiny", "model.image_size=32", "model.patch_size=8", "model.num_frames=4", "data.stride=2", "data.views=2",
    "optim.global_batch=4", "optim.epochs=null", f"optim.steps={STEPS}", "optim.warmup_epochs=null",
    "optim.warmup_steps=2", "optim.ema_decay=0.9", "logger=disabled", "trainer=cpu",
    "trainer.threads=1", "trainer.log_every_steps=5", "trainer.checkpoint_every_steps=2", "trainer.ledger=ids",
]  # fmt: skip
# RandAugment, mixup with cutmix, label smoothing and layer decay are on as published.
EVERYTHING_ON = [
    "data.selection=all", "data.val_selection=all", "data.view_jitter_frames=2", "data.erase_probability=0.5",
    "head.drop_path_rate=0.4", "head.head_dropout=0.5", "head.head_init_scale=1.0", "optim.base_lr=0.02",
    "trainer.precision=bf16",
]  # fmt: skip
ONE, TWO = ["trainer.micro_batch=2"], ["trainer.micro_batch=1", "trainer.devices=2"]
SAVED_VALUES = 1_000_000


@dataclass(frozen=True)
class Soaked:
    """A verb, what it is given, in which type it computes, and how close it stays on another number of ranks."""

    verb: str
    arguments: list[str]
    dtype: torch.dtype
    tolerance: float | None


SOAKED = {
    "pretrain": Soaked("pretrain", [*RECIPE, "loader.num_workers=1"], torch.float64, 1e-9),
    "finetune": Soaked("finetune", [*RECIPE, *EVERYTHING_ON, "loader.num_workers=2"], torch.float32, None),
}


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] in SOAKED:  # started by this script, or by a rank that was
        torch.set_default_dtype(SOAKED[sys.argv[1]].dtype)
        cli.main()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--verb", choices=SOAKED, default="pretrain")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--saves", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        soak_runs(SOAKED[arguments.verb], Path(name), arguments.runs, random.Random(arguments.seed))
        soak_saves(Path(name) / "saves", arguments.saves, random.Random(arguments.seed))


def soak_runs(soaked: Soaked, folder: Path, num_runs: int, rng: random.Random) -> None:
    videos = folder / "videos"
    generate_motion_videos(videos, num_videos=24, seed=0, size=32, num_frames=16)
    pack(open_source(videos), folder / "set", PackOptions(seed=0, shard_max_videos=5), lambda _: None)
    command = [soaked.verb, *soaked.arguments, f"data.path={folder / 'set'}"]
    finish(folder / "one", [*command, *ONE])
    finish(folder / "two", [*command, *TWO])
    num_kills = num_in_saves = 0
    for number in range(num_runs):
        run = folder / f"killed-{number}"
        killed_on, resumed_on = {2: (TWO, TWO), 3: (ONE, TWO)}.get(number % 4, (ONE, ONE))
        for _ in range(rng.randint(1, 3)):
            in_save = kill_somewhere(run, [*command, *killed_on], rng)
            num_kills, num_in_saves = num_kills + 1, num_in_saves + in_save
        finish(run, [*command, *resumed_on])
        straight = folder / ("two" if killed_on is TWO else "one")
        compare(run, straight, 0.0 if killed_on is resumed_on else soaked.tolerance)
        print(f"{number + 1} runs as if left alone; {num_kills} kills, {num_in_saves} in a save", flush=True)


def start(run: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, *arguments, f"run={run}", "resume=auto"]
    log = run.with_suffix(".log").open("ab")
    return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def finish(run: Path, arguments: list[str]) -> None:
    if start(run, arguments).wait() != 0:
        sys.exit(f"{run} failed:\n{run.with_suffix('.log').read_text()[-3000:]}")


def kill_somewhere(run: Path, arguments: list[str], rng: random.Random) -> bool:
    """Start a run and kill all its processes: at a random step, or when it saves; say whether it was in a save."""
    process = start(run, arguments)
    checkpoints = run / "checkpoints"
    if rng.random() < 0.5:
        wait_until(process, lambda: any(checkpoints.glob("*.unfinished")))
    else:
        step = rng.randrange(STEPS)
        wait_until(process, lambda: reached(checkpoints) >= step)
        time.sleep(rng.uniform(0, 0.2))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return any(checkpoints.glob("*.unfinished"))


def reached(checkpoints: Path) -> int:
    newest = newest_checkpoint(checkpoints)
    return 0 if newest is None else step_of(newest)


def wait_until(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    """Wait, without a pause, since a save is short; a process that ends ends the waiting."""
    while process.poll() is None and not condition():
        pass


def compare(run: Path, straight: Path, tolerance: float | None) -> None:
    """End the script unless the samples are the same, and weights and reports within the tolerance; None: any."""
    if read_ledger(run / LEDGER) != read_ledger(straight / LEDGER):
        sys.exit(f"{run} took other samples than {straight}")
    if tolerance is None:
        return
    ours, theirs = final_state(run), final_state(straight)
    for part in ("state_dict", "averaged_weights"):
        for name, tensor in theirs[part].items():
            off = float((ours[part][name] - tensor).abs().max())
            if off > tolerance:
                sys.exit(f"{run} differs from {straight}: {name} by {off}")
    for metric in ("train/loss", "train/lr", "train/grad_norm"):
        steps, values = read_metric(run, metric)
        expected_steps, expected = read_metric(straight, metric)
        off = max(abs(value - other) for value, other in zip(values, expected, strict=True))
        if steps != expected_steps or off > tolerance:
            sys.exit(f"{run} differs from {straight}: {metric} by {off}, at steps {steps}")


def final_state(run: Path) -> Any:
    return torch.load(checkpoint_path(run / "checkpoints", STEPS), weights_only=True)


def soak_saves(folder: Path, num_saves: int, rng: random.Random) -> None:
    if num_saves == 0:
        return
    folder.mkdir()
    save(folder, 0)
    began = time.monotonic()
    save(folder, 1)
    duration_sec = time.monotonic() - began
    num_killed = num_full = 0
    for _ in range(num_saves):
        tidy_checkpoints(folder)
        newest = load(folder)
        if rng.random() < 0.2:
            fail_on_full_disk(folder, newest + 1)
            num_full += 1
        else:
            num_killed += kill_a_save(folder, newest + 1, rng.uniform(0, duration_sec))
        load(folder)
    print(f"{num_saves} saves, {num_killed} killed, {num_full} on a full disk: always an intact checkpoint")


def save(folder: Path, step: int) -> None:
    write_checkpoint(
        {"step": step, "values": torch.full((SAVED_VALUES,), step)}, checkpoint_path(folder, step)
    )
    keep_newest(folder, 2)


def load(folder: Path) -> int:
    """Load the newest intact checkpoint and return its step; a kill must not have damaged any."""
    chosen = choose_checkpoint(folder)
    state = torch.load(chosen, weights_only=True)
    if list(folder.glob("*.damaged")) or not bool((state["values"] == step_of(chosen)).all()):
        sys.exit(f"a damaged checkpoint in {folder}")
    return step_of(chosen)


def kill_a_save(folder: Path, step: int, after_sec: float) -> bool:
    process = os.fork()
    if process == 0:
        save(folder, step)
        os._exit(0)
    time.sleep(after_sec)
    os.kill(process, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) != 0


def fail_on_full_disk(folder: Path, step: int) -> None:
    checkpoint_path(folder, step).with_suffix(".unfinished").symlink_to("/dev/full")
    try:
        save(folder, step)
    except CheckpointError as error:
        if "No space left" in str(error):
            return
    sys.exit("a full disk went unnoticed")


if __name__ == "__main__":
    main()
