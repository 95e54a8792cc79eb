"""Sweeps of real runs that are killed or interrupted, and started again."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from command_line import QUICK, SMALL, videomae
from sweep_stand_ins import FINETUNE, summary

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def real_words(packed_motions: Path) -> list[str]:
    own = ["trainer.checkpoint_every_steps=4", f"data.path={packed_motions}", "data.selection=split/train"]
    return [
        *("pretrain", "-m", "model=tiny", *SMALL, *QUICK, *own, *FINETUNE, "optim.steps=60"),
        *("masking.ratio=0.5,0.75", "finetune.trainer.checkpoint_every_steps=2"),
    ]


def start(words: list[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "videomae_train.cli", *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def written(sweep: Path) -> dict[str, bytes]:
    """Give what two equal sweeps have in common: weights to the bit."""
    return {str(file.relative_to(sweep)): file.read_bytes() for file in sweep.rglob("*.safetensors")}


@pytest.fixture(scope="module")
def straight(real_words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    sweep = tmp_path_factory.mktemp("straight") / "sweep"
    assert videomae(*real_words, f"run={sweep}") == 0
    return sweep


def test_killed_sweep__started_again_ends_as_one_that_was_left_alone(
    real_words: list[str], straight: Path, tmp_path: Path
) -> None:
    """Killed alone, when its runs stop after their step and are not in its way, and then with its runs."""
    killed = tmp_path / "killed"
    words = [*real_words, f"run={killed}", "sweep.at_once=2"]
    for number, kill in enumerate((os.kill, os.killpg), start=1):
        process = start(words)
        deadline = time.monotonic() + 300
        while max(num_attempts(killed), default=0) < number or not num_checkpoints(killed):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        kill(process.pid, signal.SIGKILL)
        process.wait()
        assert {point["state"] for point in summary(killed).values()} == {"running"}
    assert videomae(*words) == 0
    assert len(written(straight)) == 4
    assert written(killed) == written(straight)
    assert max(num_attempts(killed)) == 3, "went on with what was there"


def num_attempts(sweep: Path) -> list[int]:
    return [len(list(run.glob("logs/version_*"))) for run in sorted(sweep.glob("*/pretrain"))]


def num_checkpoints(sweep: Path) -> int:
    return len(list(sweep.glob("*/pretrain/checkpoints/*.ckpt")))


def test_interrupted_sweep__stops_its_runs_with_a_checkpoint(real_words: list[str], tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    process = start([*real_words, "optim.steps=100000", f"run={sweep}"])
    deadline = time.monotonic() + 300
    while not list(sweep.glob("*/pretrain/checkpoints/*.ckpt")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    threading.Timer(0, process.send_signal, [signal.SIGTERM]).start()
    assert process.wait(timeout=120) == 75
    assert sorted(point["state"] for point in summary(sweep).values()) == ["stopped", "waiting"]
