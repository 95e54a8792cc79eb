"""Loader workers and the signals that ask a run to stop."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading


def leave_stopping_to_the_parent() -> None:
    """Let this process, which is a worker, live on when a signal asks the whole run to stop.

    Slurm and terminals signal every process of a run. The run itself goes on to the end of its step and saves, and
    until then it needs its workers; they end when it does. Only the parent's own SIGTERM, by which it ends workers that
    do not end by themselves, still ends one, even within a decoder.
    """
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    if (
        sys.platform == "linux"
    ):  # elsewhere a signal does not say where it came from, and SIGTERM keeps its meaning
        parent = multiprocessing.parent_process()
        assert parent is not None, "only for workers"
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_heed, args=(parent.pid,), name="signals", daemon=True).start()


def _heed(parent: int | None) -> None:
    if sys.platform == "linux":
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
            pass
        os._exit(0)
