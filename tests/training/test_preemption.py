"""Signals are remembered, and nobody else's handlers get in the way."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from stepping import Batches, make_module
from torch.utils.data import DataLoader

from videomae_train.training.preemption import PARENT, StopRequest, exit_code_after
from videomae_train.training.trainer import leave_signals_to_us

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP)


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in SIGNALS]


@pytest.mark.usefixtures("hearing_hangups")
@pytest.mark.parametrize("number", SIGNALS)
def test_signal__is_remembered_and_interrupts_nothing(number: signal.Signals) -> None:
    before = handlers()
    with StopRequest() as stop:
        assert stop.number == 0
        os.kill(os.getpid(), number)
        assert stop.number == number
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.number == number  # the first one counts
    assert handlers() == before


def test_nohup__is_heeded() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.number == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_second_ctrl_c__interrupts_at_once() -> None:
    with StopRequest():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers__come_back_after_an_error_too() -> None:
    before = handlers()
    with pytest.raises(ValueError, match="any"), StopRequest():
        raise ValueError("any")
    assert handlers() == before


def test_other_threads__set_no_handlers() -> None:
    before = handlers()

    def use() -> None:
        with StopRequest() as stop:
            assert stop.number == 0

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert handlers() == before


def test_exit_codes__tell_a_preemption_from_ctrl_c() -> None:
    assert [exit_code_after(number.name) for number in SIGNALS] == [75, 75, 75, 130, 75]


def test_lightning__sets_no_handlers_of_its_own(tmp_path: Path) -> None:
    seen: list[list[Any]] = []

    class Look(pl.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            seen.append(handlers())

    trainer = pl.Trainer(
        accelerator="cpu", max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, callbacks=[Look()],
    )  # fmt: skip
    leave_signals_to_us(trainer)
    with StopRequest():
        ours = handlers()
        trainer.fit(make_module(4), DataLoader(Batches(0, 4), batch_size=None))
        assert handlers() == ours
    assert seen == [ours]


CHILD = """
import signal
from videomae_train.training.preemption import end_with_parent
signal.signal(signal.SIGALRM, lambda *_: print("left alone", flush=True))
end_with_parent()
print("ready", flush=True)
signal.alarm(20)
signal.pause()
"""
PARENT_OF_CHILD = f"""
import os, subprocess, sys
from videomae_train.training.preemption import PARENT
environment = {{**os.environ, PARENT: str(os.getpid())}}
subprocess.run([sys.executable, "-c", {CHILD!r}], env=environment)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a call of Linux")
def test_run_of_a_sweep__stops_when_the_sweep_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT_OF_CHILD], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        parent.kill()
        assert parent.stdout.read() == b"", "ends when nobody holds the pipe any more"


@pytest.mark.skipif(sys.platform != "linux", reason="a call of Linux")
def test_run_of_a_sweep__stops_where_the_sweep_is_gone_already() -> None:
    elsewhere = {**os.environ, PARENT: "1"}
    ended = subprocess.run([sys.executable, "-c", CHILD], env=elsewhere, check=False, capture_output=True)
    assert (ended.returncode, ended.stdout) == (-signal.SIGTERM, b"")
