"""End a command with the name of the rank, when one that it started for itself dies and nobody else says so."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from lightning_fabric.strategies.launchers import subprocess_script

from videomae_train.errors import TrainingError

_PATIENCE_SEC = 5.0


class ChildRanks(subprocess_script._ChildProcessObserver):  # pyright: ignore[reportPrivateUsage]
    """In Lightning's place, which looks every 5 s and kills every rank by SIGKILL, without a word, once one has died.

    Attributes:
        patience_sec: How long rank 0 may still end by itself, with a better reason.
    """

    patience_sec = _PATIENCE_SEC

    def _terminate_all(self) -> None:
        time.sleep(self.patience_sec)
        ranks = list(enumerate(self._child_processes, start=1))
        rank, first = next((rank, each) for rank, each in ranks if each.returncode)
        error = TrainingError(
            where=f"rank {rank} (process {first.pid})",
            came=_how_it_ended(first.returncode),
            expected="every rank to go on until the end",
            todo="See what it said above; one that was killed without a word may have been out of memory.",
        )
        print(f"Error: {error}", file=sys.stderr, flush=True)
        for _, each in ranks:
            each.kill()
        os._exit(error.exit_code)  # the main thread may be inside a collective that nothing interrupts


def watch_child_ranks() -> None:
    """Let Lightning's launchers, which start one node's ranks, watch them in this way."""
    setattr(subprocess_script, "_ChildProcessObserver", ChildRanks)  # noqa: B010  (a private name)


def leave_child_ranks_to_another(seconds: float) -> None:
    """Let somebody who knows more of the ranks end the command, and do it only if that has not come by then."""
    for thread in threading.enumerate():
        if isinstance(thread, ChildRanks):
            thread.patience_sec = seconds


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"it ended with exit code {code}"
    try:
        return f"it was ended by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"it was ended by signal {-code}"
