"""A rank that this command started, and that dies, ends the command with its name; real processes."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

EVALUATION = """
import os, signal, sys, time
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from videomae_train.evaluation.ranks import Ranks

def one_rank(rank, world_size, device):
    if rank == 1:
        time.sleep({seconds})
        {death}
    {first}

if int(os.environ.get("LOCAL_RANK", 0)) == 0:
    print("rank 0 is", os.getpid(), flush=True)
Ranks(torch.device("cpu"), devices=2, num_nodes=1, environment=LightningEnvironment()).gather(one_rank)
"""
BUSY = "print('busy', flush=True); time.sleep(1000)"


@contextlib.contextmanager
def evaluation(folder: Path, *, seconds: float, death: str, first: str) -> Iterator[subprocess.Popen[str]]:
    script = folder / "evaluation.py"
    script.write_text(EVALUATION.format(seconds=seconds, death=death, first=first))
    with subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seconds", "death", "first", "came"),
    [
        (0, "os.kill(os.getpid(), signal.SIGKILL)", BUSY, "ended by SIGKILL"),
        (0, "os._exit(3)", BUSY, "ended with exit code 3"),
        (3, "os.kill(os.getpid(), signal.SIGKILL)", "pass", "ended by SIGKILL"),
    ],
)
def test_evaluation__whose_rank_dies_says_which(
    seconds: float, death: str, first: str, came: str, tmp_path: Path
) -> None:
    """While rank 0 scores, and while it waits for the scores."""
    with evaluation(tmp_path, seconds=seconds, death=death, first=first) as process:
        # Both ranks hold the pipe: its end means that neither is left behind.
        _, said = process.communicate(timeout=90)
    assert process.returncode == 1
    assert re.search(rf"Error: rank 1 \(process \d+\): it (was )?{came}; expected every rank", said), said


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a call of Linux")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_evaluation__that_is_killed_leaves_no_rank_behind(number: signal.Signals, tmp_path: Path) -> None:
    with evaluation(tmp_path, seconds=1000, death="pass", first=BUSY) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"rank 0 is {process.pid}\n"
        assert process.stdout.readline() == "busy\n"
        process.send_signal(number)
        process.communicate(timeout=90)  # ends when no rank holds the pipes any more
    assert process.returncode == -number


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
