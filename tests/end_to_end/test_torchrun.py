"""Several ranks that torchrun starts, for clusters without Slurm."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import QUICK, SMALL, videomae

from videomae_train.model import load_pretraining_model
from videomae_train.training.records import read_metric

BIN = Path(sys.executable).parent


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [BIN / "torchrun", "--standalone", "--nproc-per-node=2", "--no-python", BIN / "videomae"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, "pretrain", "model=tiny", *SMALL, *QUICK, "trainer.devices=2", "trainer.micro_batch=1", *arguments],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip


@pytest.mark.slow
def test_torchrun__two_ranks_take_the_steps_of_one(packed_motions: Path, tmp_path: Path) -> None:
    data = f"data.path={packed_motions}"
    done = torchrun(data, f"run={tmp_path / 'two'}")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("6 steps in") == 1, "rank 0 alone speaks"
    assert read_metric(tmp_path / "two", "train/loss")[0] == [1, 2, 3, 4, 5, 6]
    arguments = ["model=tiny", *SMALL, *QUICK, "trainer.micro_batch=1", data, f"run={tmp_path / 'one'}"]
    assert videomae("pretrain", *arguments) == 0
    ours = load_pretraining_model(tmp_path / "one" / "weights").state_dict()
    theirs = load_pretraining_model(tmp_path / "two" / "weights").state_dict()
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=2e-6, msg=name)


def test_ranks_started_from_outside__must_be_told_the_runs_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("TORCHELASTIC_RUN_ID", "none"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert videomae("pretrain", "data.path=x", "trainer.devices=2") == 2
    assert "each rank would name one after its own clock" in capsys.readouterr().err
