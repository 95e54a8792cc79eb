"""A rank that this command started, and that dies, ends the command with its name; real processes."""

import subprocess
import sys
from pathlib import Path

import pytest

EVALUATION = """
import os, signal, sys, time
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from videomae_train.evaluation.ranks import Ranks

def one_rank(rank, world_size, device):
    if rank == 1:
        {death}
    time.sleep(1000)

Ranks(torch.device("cpu"), devices=2, num_nodes=1, environment=LightningEnvironment()).gather(one_rank)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("death", "came"),
    [("os.kill(os.getpid(), signal.SIGKILL)", "ended by SIGKILL"), ("os._exit(3)", "ended with exit code 3")],
)
def test_evaluation__whose_rank_dies_says_which(death: str, came: str, tmp_path: Path) -> None:
    script = tmp_path / "evaluation.py"
    script.write_text(EVALUATION.format(death=death))
    with subprocess.Popen([sys.executable, script], stderr=subprocess.PIPE, text=True) as process:
        # Both ranks hold the pipe: its end means that neither is left behind.
        _, said = process.communicate()
    assert process.returncode == 1
    assert "Error: rank 1 (process " in said
    assert came in said


STARTING = """
import subprocess, sys, time
from lightning_fabric.strategies.launchers import subprocess_script
from videomae_train.child_ranks import ChildRanks, leave_child_ranks_to_another, watch_child_ranks

subprocess_script._ChildProcessObserver.__init__.__defaults__ = (0.02,)  # looks so often
ChildRanks.patience_sec = 0.0
watch_child_ranks()
child = subprocess.Popen([sys.executable, "-c", "input(); raise SystemExit(3)"], stdin=subprocess.PIPE)
subprocess_script._launch_process_observer([child])
{leave}
child.communicate(b"now\\n")
time.sleep(1)
print("rank 0 ended by itself")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("leave", "code", "said"),
    [("leave_child_ranks_to_another(1000.0)", 0, "rank 0 ended by itself\n"), ("", 1, "")],
)
def test_who_knows_more__is_let_end_the_command(leave: str, code: int, said: str) -> None:
    script = STARTING.format(leave=leave)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, said), done.stderr
