"""Attempts of a run in forked processes, which may be killed; a fork spares each the imports."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from command_line import videomae

from videomae_train.training import checkpoint_files
from videomae_train.training.ledger import read_ledger
from videomae_train.training.records import LEDGER, read_metric

WAIT_SEC = 60.0


def start(*arguments: object, before: Callable[[], None] = lambda: None, said: Path | None = None) -> int:
    """Fork a process that runs the command, after preparing it, and return its id; `said` takes what it prints."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        before()
        if said is not None:
            os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 1)
            os.dup2(1, 2)
            sys.stdout = sys.stderr = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115  # the process's own
        code = videomae(*arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def end_of(process: int) -> int:
    """Wait for a process: its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def wait_for(condition: Callable[[], bool]) -> None:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < WAIT_SEC
        time.sleep(0.005)


def num_rows(file: Path) -> int:
    return len(file.read_text().splitlines()) - 1


def num_steps(run: Path) -> int:
    return len(read_ledger(run / LEDGER))


def die_while_saving(number: int, name: str) -> Callable[[], None]:
    """Prepare a process that kills itself in its `number`-th save, when it calls a function of `checkpoint_files`."""

    def prepare() -> None:
        original, calls = getattr(checkpoint_files, name), 0

        def dying(*arguments: object) -> object:
            nonlocal calls
            calls += 1
            if calls == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments)

        setattr(checkpoint_files, name, dying)

    return prepare


def final_checkpoint(run: Path, step: int) -> dict[str, Any]:
    return torch.load(run / "checkpoints" / f"step-{step:08d}.ckpt", weights_only=True)


def final_state(run: Path, step: int) -> dict[str, torch.Tensor]:
    return final_checkpoint(run, step)["state_dict"]


def assert_equal_parts(ours: Any, theirs: Any, where: str) -> None:
    """Two trees of tensors and values are equal, bit for bit."""
    if isinstance(theirs, dict | list | tuple):
        keys = theirs if isinstance(theirs, dict) else range(len(theirs))
        assert len(ours) == len(theirs), where
        for key in keys:
            assert_equal_parts(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(theirs, torch.Tensor):
        assert torch.equal(ours, theirs), where
    else:
        assert ours == theirs, where


def assert_same_run(ours: Path, theirs: Path, steps: int) -> None:
    """Weights, their average, the optimiser's state, losses and samples of two runs are equal, bit for bit."""
    mine, straight = final_checkpoint(ours, steps), final_checkpoint(theirs, steps)
    for part in ("state_dict", "averaged_weights", "optimizer_states", "update"):
        assert_equal_parts(mine.get(part), straight.get(part), part)
    for metric in ("train/loss", "train/lr", "train/grad_norm"):
        assert read_metric(ours, metric) == read_metric(theirs, metric), metric
    assert (ours / LEDGER).read_text() == (theirs / LEDGER).read_text()
    # Over all attempts there is one row for each report: nothing stays of steps that were taken back.
    assert sum(map(num_rows, ours.glob("logs/*/metrics.csv"))) == num_rows(
        theirs / "logs/version_0/metrics.csv"
    )
    assert (ours / "weights" / "model.safetensors").read_bytes() == (
        theirs / "weights" / "model.safetensors"
    ).read_bytes()
