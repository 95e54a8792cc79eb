"""A terminal that is closed over a run, as when a connection breaks."""

import contextlib
import json
import os
import pty
import sys
import time
from pathlib import Path

import pytest
from command_line import QUICK, SMALL

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("hearing_hangups")]


def test_closed_terminal__saves_and_is_worth_starting_again(packed_motions: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["model=tiny", *SMALL, *QUICK, f"data.path={packed_motions}", f"run={run}", "optim.steps=1000000"]
    process, terminal = pty.fork()
    if process == 0:
        os.execv(sys.executable, [sys.executable, "-m", "videomae_train.cli", "pretrain", *words])
    os.set_blocking(terminal, False)
    deadline = time.monotonic() + 240
    while not list(run.glob("logs/*/metrics.csv")):
        with contextlib.suppress(BlockingIOError):
            os.read(terminal, 65536)
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 75
    assert json.loads((run / "attempt.json").read_text())["stopped_by"] == "SIGHUP"
    assert list((run / "checkpoints").glob("*.ckpt"))
