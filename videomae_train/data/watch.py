"""What loader workers are decoding, written where the main process can read it after one of them has died.

A decoder is native code fed with anybody's bytes: it may crash, or never come back. A worker writes down which video it
hands to the decoder and sets itself an alarm, whose default action ends a process whatever native code it is in. The
main process needs no thread of its own to watch: the worker's death is what it notices, and the signal says why.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing.sharedctypes import RawArray
from typing import NamedTuple

_COLUMNS = 3


class Decoding(NamedTuple):
    """A video in a decoder's hands."""

    position: int
    sample_id: int


class DecodingBoard:
    """One line for each worker, in memory shared with it.

    Args:
        num_workers: Loader workers; none need no board.
        timeout_sec: The longest that decoding one video may take, > 0.
    """

    def __init__(self, num_workers: int, timeout_sec: float) -> None:
        self._timeout_sec = timeout_sec
        self._lines = RawArray(ctypes.c_longlong, max(1, num_workers) * _COLUMNS)

    def adopt(self, worker: int) -> None:
        """Let this process, which is a worker, write its own line from now on."""
        global _mine
        # Whatever the main process does with alarms, here one has to end the process.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        _mine = (self, worker * _COLUMNS)

    def of(self, pid: int) -> Decoding | None:
        """Tell what a process is decoding, or was when it died; None if nothing."""
        for first in range(0, len(self._lines), _COLUMNS):
            owner, position, sample_id = self._lines[first : first + _COLUMNS]
            if owner == pid:
                return Decoding(position, sample_id)
        return None

    @contextmanager
    def hold(self, first: int, decoding: Decoding) -> Generator[None]:
        """Show a line while a video is decoded, and end the process if that takes too long."""
        self._lines[first + 1], self._lines[first + 2] = decoding
        self._lines[first] = os.getpid()
        signal.setitimer(signal.ITIMER_REAL, self._timeout_sec)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._lines[first] = 0


_mine: tuple[DecodingBoard, int] | None = None  # set in worker processes only


@contextmanager
def decoding(position: int, sample_id: int) -> Generator[None]:
    """Announce that a video is in a decoder's hands; outside of a loader's worker this does nothing."""
    if _mine is None:
        yield
        return
    board, first = _mine
    with board.hold(first, Decoding(position, sample_id)):
        yield
