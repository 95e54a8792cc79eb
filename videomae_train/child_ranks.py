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
_LOOK_SEC = 0.1


class ChildRanks(subprocess_script._ChildProcessObserver):  # pyright: ignore[reportPrivateUsage]
    """In Lightning's place, which looks every 5 s and kills every rank by SIGKILL, without a word, once one has died.

    Attributes:
        patience_sec: How long rank 0 may still end by itself, with a better reason.
    """

    patience_sec = _PATIENCE_SEC

    def find_dead(self) -> TrainingError | None:
        """Say which rank has died, if one has: one that was killed before those that broke, maybe for want of it."""
        codes = {rank: each.poll() for rank, each in enumerate(self._child_processes, start=1)}
        dead = [rank for rank, code in codes.items() if code]
        if not dead:
            return None
        rank = min(dead, key=lambda rank: (codes[rank] or 0) > 0)
        return TrainingError(
            where=f"rank {rank} (process {self._child_processes[rank - 1].pid})",
            came=_how_it_ended(codes[rank] or 0),
            expected="every rank to go on until the end",
            todo="See what it said above; one that was killed without a word may have been out of memory.",
        )

    def _terminate_all(self) -> None:
        time.sleep(self.patience_sec)
        error = self.find_dead()
        assert error is not None
        print(f"Error: {error}", file=sys.stderr, flush=True)
        for each in self._child_processes:
            each.kill()
        os._exit(error.exit_code)  # the main thread may be inside a collective that nothing interrupts


def watch_child_ranks() -> None:
    """Let Lightning's launchers, which start one node's ranks, watch them in this way."""
    setattr(subprocess_script, "_ChildProcessObserver", ChildRanks)  # noqa: B010  (a private name)


def leave_child_ranks_to_another(seconds: float) -> None:
    """Let somebody who knows more of the ranks end the command, and do it only if that has not come by then."""
    for watching in _watching():
        watching.patience_sec = seconds


def raise_for_dead_child(within_sec: float = _PATIENCE_SEC) -> None:
    """Say which rank has died, where one is missed and this process started it.

    Raises:
        TrainingError: One has.
    """
    deadline = time.monotonic() + within_sec
    while watching := _watching():
        for each in watching:
            if (error := each.find_dead()) is not None:
                raise error
        if time.monotonic() > deadline:
            return
        time.sleep(_LOOK_SEC)


def _watching() -> list[ChildRanks]:
    return [thread for thread in threading.enumerate() if isinstance(thread, ChildRanks)]


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"it ended with exit code {code}"
    try:
        return f"it was ended by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"it was ended by signal {-code}"
