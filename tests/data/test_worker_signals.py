"""Signals to the whole run do not take its loader workers away; the parent's SIGTERM does."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event

import pytest

from videomae_train.data.worker_signals import leave_stopping_to_the_parent

FORK = multiprocessing.get_context("fork")


def work(ready: Event) -> None:
    leave_stopping_to_the_parent()
    ready.set()
    while True:
        time.sleep(60)


@pytest.fixture
def worker() -> Iterator[BaseProcess]:
    ready = FORK.Event()
    process = FORK.Process(target=work, args=(ready,), daemon=True)
    process.start()
    assert ready.wait(30)
    yield process
    process.kill()
    process.join()


def signalled_by_another(process: BaseProcess, number: int) -> None:
    assert process.pid is not None
    other = FORK.Process(target=os.kill, args=(process.pid, number))
    other.start()
    other.join()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2])
def test_worker__outlives_what_asks_the_run_to_stop(worker: BaseProcess, number: int) -> None:
    signalled_by_another(worker, number)
    worker.join(0.3)
    assert worker.is_alive()


def test_worker__ends_when_its_parent_wants_it(worker: BaseProcess) -> None:
    signalled_by_another(worker, signal.SIGTERM)
    worker.terminate()
    worker.join(30)
    assert worker.exitcode == 0
