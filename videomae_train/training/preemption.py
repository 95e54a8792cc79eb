"""Signals that ask a run to stop: remembered when they come, obeyed at the end of the step."""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType, TracebackType

from videomae_train.processes import end_with

# SIGTERM: preemption, scancel, a shutdown. SIGUSR1 and SIGUSR2: Slurm's warning, as sbatch --signal or submitit ask
# for it. SIGINT: Ctrl-C. SIGHUP: the terminal was closed.
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP)

PARENT = "VIDEOMAE_ENDS_WITH_PROCESS"  # environment variable; its value is the parent's process id
# The same for those who meet this process in its folder; ranks that it starts inherit this one only.
_PARENT_ONCE = "VIDEOMAE_STARTED_BY_PROCESS"

EXIT_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: not done, worth another try
EXIT_INTERRUPTED = 130  # as shells have it for Ctrl-C


class StopRequest:
    """Remembers, inside a `with` block, that a signal asked this process to stop.

    Nothing else happens in the handler: a checkpoint written there would be of half a step, and ranks that are
    signalled at different moments would wait for each other for ever. A second Ctrl-C interrupts at once.
    Outside the main thread, where Python allows no handlers, none are set.
    """

    def __init__(self) -> None:
        self.number = 0  # of the first signal that came; 0 while none has
        self._handling = ExitStack()

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._handling.enter_context(handling(heeded(_SIGNALS), self._remember))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handling.close()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self.number == signal.SIGINT:
                raise KeyboardInterrupt
            # Not print: the signal may have come in the middle of one.
            os.write(sys.__stderr__.fileno(), b"\nStopping after this step. Ctrl-C again stops at once.\n")  # type: ignore[union-attr]
        if number == signal.SIGHUP:
            leave_terminal()
        self.number = self.number or number


@contextmanager
def handling(
    signals: Sequence[signal.Signals], handler: Callable[[int, FrameType | None], None]
) -> Generator[None]:
    """Handle signals inside a block, and leave them to whom they were left before after it; in the main thread."""
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, own in before.items():
            # None: a handler that was not set from Python, and cannot be set again from here.
            signal.signal(number, signal.SIG_DFL if own is None else own)


def heeded(signals: Sequence[signal.Signals]) -> list[signal.Signals]:
    """Leave out SIGHUP where it is ignored: nohup asked that the end of the terminal be none of the run."""
    return [each for each in signals if each != signal.SIGHUP or signal.getsignal(each) is not signal.SIG_IGN]


def end_with_parent() -> None:
    """Ask this process to stop when its parent dies, if the environment says so.

    A sweep that was killed by SIGKILL cannot stop its runs, which would still be in their folders at its next start.
    """
    parent = os.environ.pop(PARENT, None)  # ranks that this process starts are its own business
    if parent is not None:
        os.environ[_PARENT_ONCE] = parent
        end_with(int(parent))


def parent_to_end_with() -> int | None:
    """Give the process id of the sweep that this run ends with; None where it ends by itself."""
    parent = os.environ.get(_PARENT_ONCE)
    return None if parent is None else int(parent)


def leave_terminal() -> None:
    """Let what is still printed go nowhere: a terminal that was closed answers every line with an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        if stat.S_ISCHR(os.fstat(stream).st_mode):  # a file or a pipe is there still
            os.dup2(nowhere, stream)
    os.close(nowhere)


def exit_code_after(signal_name: str) -> int:
    """Return the exit code of a run that a signal stopped."""
    return EXIT_INTERRUPTED if signal_name == signal.SIGINT.name else EXIT_PREEMPTED
