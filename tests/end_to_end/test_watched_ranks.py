"""A rank that dies or hangs ends the run with its name; several ranks started by torchrun."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import QUICK, SMALL

BIN = Path(sys.executable).parent
TWO_RANKS = ["trainer.devices=2", "trainer.micro_batch=1", "trainer.threads=1", "trainer.rank_timeout_sec=15"]
# The ranks' own threads must not compete for the cores of a small machine.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
# Lightning looks every 5 s whether a rank that it started has died, and then kills the rest without a word.
AS_LIGHTNING_LOOKS_OFTEN = """
import sys
from lightning_fabric.strategies.launchers import subprocess_script
from videomae_train.cli import main

subprocess_script._ChildProcessObserver.__init__.__defaults__ = (0.02,)
sys.exit(main())
"""


@contextlib.contextmanager
def started(command: list[str | Path]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, start_new_session=True
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_it_steps(run: Path, rank: int, process: subprocess.Popen[str]) -> int:
    """Return the rank's process id, once it has taken some steps."""
    file = run / "ranks" / f"rank-{rank:04d}.json"
    while process.poll() is None:
        time.sleep(0.1)
        if file.exists() and (found := json.loads(file.read_text()))["step"] >= 3:
            return found["process"]
    pytest.fail(f"ended before it stepped: {process.communicate()[1][-3000:]}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "with_signal", "named"),
    [
        (1, signal.SIGKILL, "it died"),
        (1, signal.SIGSTOP, "said nothing"),
        (0, signal.SIGSTOP, "said nothing"),
    ],
)
def test_a_rank_that_dies_or_hangs__ends_the_run_with_its_name(
    rank: int, with_signal: signal.Signals, named: str, packed_motions: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    arguments = [
        "model=tiny", *SMALL, *QUICK, *TWO_RANKS, f"data.path={packed_motions}", f"run={run}", "optim.steps=1000000",
    ]  # fmt: skip
    command = tmp_path / "videomae.py"
    command.write_text(AS_LIGHTNING_LOOKS_OFTEN)
    with started([sys.executable, command, "pretrain", *arguments]) as process:
        victim = wait_until_it_steps(run, rank, process)
        os.kill(victim, with_signal)
        # Both ranks hold the pipe: its end means that neither is left behind.
        _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert f"rank {rank} (" in errors, errors
    assert f"process {victim}): " in errors
    assert named in errors
    assert "last seen at step" in errors
