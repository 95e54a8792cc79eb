"""Child processes that may hang or crash: they are ended and replaced, and what they worked on is known.

A decoder is native code fed with anybody's bytes. Here it runs in children that hold nothing worth keeping;
`check`, `pack` and `index` put their files through them.
"""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from typing import Generic, TypeVar

from videomae_train.errors import VideoMAETrainError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Signals that come from outside (a batch system, a full memory) and say little about the item: it gets a second try
# here, and in a loader no blame.
SIGNALS_FROM_OUTSIDE = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM})
# The alarm's clock runs on while a process is stopped (Ctrl-Z, a suspended job), so the first says as little here.
_TRIED_AGAIN = SIGNALS_FROM_OUTSIDE | {signal.SIGALRM}
_AHEAD = 4


@dataclass(frozen=True)
class Ended:
    """What is known of an item whose child did not come to an end with it.

    Attributes:
        signal_name: What ended the child, such as "SIGSEGV".
        timed_out: It was ended because it took too long.
    """

    signal_name: str
    timed_out: bool


@dataclass(eq=False)
class _Task(Generic[Item, Result]):
    """An item on its way; `outcome` is set when it is done."""

    item: Item
    tries: int = 0
    outcome: list[Result | Ended] = field(default_factory=list)


@contextmanager
def children_at_work(
    work: Callable[[Item], Result], items: Iterable[Item], *, processes: int, timeout_sec: float
) -> Generator[Iterator[tuple[Item, Result | Ended]]]:
    """Do work on items in child processes; results come in the order of the items.

    Args:
        work: Picklable. What it raises is raised here.
        items: Picklable; taken a few ahead of the results.
        processes: Children at a time, at least 1.
        timeout_sec: The longest that one item may take; one that takes longer gets a second try.

    Yields:
        Each item with its result, or with how its child ended.
    """
    pool = _Pool[Item, Result](work, processes, timeout_sec)
    try:
        yield pool.run(items)
    finally:
        pool.close()


class _Pool(Generic[Item, Result]):
    """The children, and the items that are under way in them."""

    def __init__(self, work: Callable[[Item], Result], processes: int, timeout_sec: float) -> None:
        self._start = lambda: _Child[Item, Result](work, timeout_sec)
        self._children = [self._start() for _ in range(max(1, processes))]

    def run(self, items: Iterable[Item]) -> Iterator[tuple[Item, Result | Ended]]:
        """Keep every child busy and give the results in order, a bounded number of them waiting."""
        rest = iter(items)
        under_way: deque[_Task[Item, Result]] = deque()
        while True:
            for child in self._children:
                if child.task is None and len(under_way) < _AHEAD * len(self._children):
                    for item in rest:
                        under_way.append(_Task(item))
                        child.give(under_way[-1])
                        break
            if not under_way:
                return
            self._collect(block=not under_way[0].outcome)
            while under_way and under_way[0].outcome:
                task = under_way.popleft()
                yield task.item, task.outcome[0]

    def _collect(self, *, block: bool) -> None:
        """Take what children have ready; replace those that have ended."""
        busy = {child.connection: child for child in self._children if child.task is not None}
        for connection in wait(list(busy), timeout=None if block else 0):
            child = busy[connection]  # pyright: ignore[reportArgumentType]  # only connections were given
            if not child.take():
                self._replace(child)

    def _replace(self, ended: _Child[Item, Result]) -> None:
        task, cause = ended.bury()
        successor = self._start()
        self._children[self._children.index(ended)] = successor
        if signal.Signals[cause.signal_name] in _TRIED_AGAIN and task.tries < 2:
            successor.give(task)
        else:
            task.outcome.append(cause)

    def close(self) -> None:
        """End all children, whatever they do."""
        for child in self._children:
            child.end()


class _Child(Generic[Item, Result]):
    """One process and the pipe to it."""

    def __init__(self, work: Callable[[Item], Result], timeout_sec: float) -> None:
        context = _context()
        self.connection, theirs = context.Pipe()
        self.task: _Task[Item, Result] | None = None
        self._process = context.Process(target=_serve, args=(theirs, work, timeout_sec), daemon=True)
        self._process.start()
        theirs.close()

    def give(self, task: _Task[Item, Result]) -> None:
        """Start the child on an item."""
        self.task = task
        task.tries += 1
        try:
            self.connection.send(task.item)
        except BrokenPipeError:
            # It ended between two items; the pipe reads as closed, so that `take` finds it out.
            return

    def take(self) -> bool:
        """Take the result of the item; False if the child has ended instead."""
        assert self.task is not None
        try:
            is_result, outcome = self.connection.recv()
        except (EOFError, OSError):
            return False
        if not is_result:
            raise outcome
        self.task.outcome.append(outcome)
        self.task = None
        return True

    def bury(self) -> tuple[_Task[Item, Result], Ended]:
        """Say which item an ended child leaves behind, and what ended it.

        Raises:
            VideoMAETrainError: It left by itself, which is never the item's fault.
        """
        assert self.task is not None
        self._process.join()
        code = self._process.exitcode or 0
        if code >= 0:
            raise VideoMAETrainError(
                where="a child process that reads videos",
                came=f"it left with exit code {code}",
                expected="a child that works until it is told to stop",
                todo="Its own message stands above. A script that packs needs `if __name__ == '__main__':`.",
            )
        self.connection.close()
        return self.task, Ended(signal.Signals(-code).name, timed_out=-code == signal.SIGALRM)

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self.connection.close()


def _context() -> ForkServerContext:
    """Make children from a small server process that has imported the decoder already, and nothing heavy.

    A fork of this process would copy its threads' locks; a spawned one would import everything again.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["videomae_train.data.inspection"])
    return context


def _serve(connection: Connection, work: Callable[[Item], object], timeout_sec: float) -> None:
    """Work on items until the pipe closes.

    The alarm's default action ends the process inside native code too, and also when its parent is gone.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_REAL, timeout_sec)
        try:
            answer = True, work(item)
        except Exception as error:
            error.add_note(f"In the child process:\n{traceback.format_exc()}")
            answer = False, error
        signal.setitimer(signal.ITIMER_REAL, 0)
        connection.send(answer)
