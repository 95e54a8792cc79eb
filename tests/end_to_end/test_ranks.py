"""Several ranks on one machine, started by the command itself."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import QUICK, SMALL

from videomae_train.model import load_pretraining_model
from videomae_train.training.records import read_metric


def pretrain(run: Path, *arguments: str) -> None:
    command = Path(sys.executable).parent / "videomae"
    done = subprocess.run(
        [command, "pretrain", "model=tiny", *SMALL, *QUICK, f"run={run}", *arguments],
        capture_output=True, text=True, check=False, env={"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_ranks__take_the_steps_of_one_rank_that_accumulates(packed_motions: Path, tmp_path: Path) -> None:
    data = [f"data.path={packed_motions}", "trainer.micro_batch=1", "trainer.threads=1"]
    pretrain(tmp_path / "one", *data)
    pretrain(tmp_path / "two", *data, "trainer.devices=2")
    ours = load_pretraining_model(tmp_path / "one" / "weights").state_dict()
    theirs = load_pretraining_model(tmp_path / "two" / "weights").state_dict()
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=2e-6, msg=name)
    losses = read_metric(tmp_path / "one", "train/loss")[1]
    assert read_metric(tmp_path / "two", "train/loss")[1] == pytest.approx(losses, abs=1e-5)
