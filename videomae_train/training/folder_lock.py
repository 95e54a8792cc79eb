"""One run's folder, one run at a time: a lock on in_use.json, and a look at it before every save.

The kernel takes a lock back when its process ends, however that ends, so that a dead owner never blocks; what the
file says is for people. Locks hold between machines on NFS (an NFSv4 server forgets a dead machine's lock after its
lease, 90 s by default) and on Lustre mounted with `flock`. Where a file system has none, or keeps them to one machine,
the later process takes the folder over, and the earlier one finds that out before its next save.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import math
import os
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from videomae_train.errors import ConfigError, TrainingError
from videomae_train.training.heartbeats import host_name, process_is_running
from videomae_train.training.preemption import parent_to_end_with
from videomae_train.training.requeue import slurm_job, slurm_restarts

LOCK = "in_use.json"
_IS_HELD = (errno.EACCES, errno.EAGAIN)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
# Past a lease, and what a job that was just told to end still needs.
_PATIENCE_SEC = 120.0
_TRY_SEC = 2.0
_SAY_SEC = 600.0
_MOST_BYTES = 4096


@dataclass(frozen=True)
class Owner:
    """Who runs in a folder.

    Attributes:
        host: The machine, as `heartbeats.host_name` has it.
        process: The process id there.
        job: The Slurm job's number; None outside of Slurm.
        restarts: How often Slurm had started that job anew by then.
        since: Local time when it took the folder.
        token: Tells it from any other process, on any machine.
        ends_with: Process id there of the sweep that it ends with; None without one.
    """

    host: str
    process: int
    job: str | None
    restarts: int
    since: str
    token: str
    ends_with: int | None = None

    @property
    def name(self) -> str:
        """The process as a person looks for it."""
        job = "" if self.job is None else f" of Slurm job {self.job}"
        return f"process {self.process} on {self.host.partition(' ')[0]}{job} (since {self.since})"


class FolderLock:
    """Keeps other runs out of a folder inside a `with` block, in one process of a run.

    Args:
        folder: The run's; made if it is not there.
        patience_sec: How long to wait for an owner on another machine, which may have died there or be about to end,
            and for one here whose sweep was killed.
        is_asked_to_stop: Whether a signal came, which ends all waiting.
    """

    def __init__(
        self,
        folder: Path,
        patience_sec: float = _PATIENCE_SEC,
        is_asked_to_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._folder, self._path, self._patience_sec = folder, folder / LOCK, patience_sec
        self._is_asked_to_stop = is_asked_to_stop
        # A POSIX lock, which forked loader workers do not inherit: they may outlive a killed owner by seconds. It is
        # lost when this process closes the file, by whatever descriptor: nothing else here may open it.
        self._file: int | None = None
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        restarts = slurm_restarts()
        self._own = Owner(
            host_name(), os.getpid(), slurm_job(), restarts, now, secrets.token_hex(8), parent_to_end_with()
        )

    def __enter__(self) -> FolderLock:
        """Take the folder, waiting for those to let go of it whose end is near.

        An owner from before this job was requeued is waited for as long as the job may run: Slurm counts it as ended,
        and nobody asked for two runs. Any other may be somebody's mistake, which should not keep nodes for long.

        Raises:
            ConfigError: Another process has it, or it cannot be made.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                where="run",
                came=f"{self._folder}: {error.strerror}",
                expected="a folder that can be made",
                todo="Give another run=<folder>.",
            ) from error
        holder = self._try_to_take()
        if holder is not None:
            holder = self._wait_for_end_of(holder)
        if holder is not None:
            raise ConfigError(
                where="run",
                came=f"{self._folder}, in use by {holder.name}",
                expected="a folder in which nothing else runs",
                todo="Let it end or stop it, then start the same command again (a run: with resume=auto);"
                f" or give another run=<folder>. If that machine is gone for good, remove {self._path}.",
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        if self._taken_over_by() is None:
            with contextlib.suppress(OSError):  # what stays there without a lock is in nobody's way
                self._path.unlink()
        os.close(self._file)
        self._file = None

    def check(self) -> None:
        """Look whether the folder is still this process's; one that never took it has nothing to look for.

        Raises:
            TrainingError: Another process has taken it over: the file system's locks did not reach it, or somebody
                removed the file.
        """
        if self._file is not None and (other := self._taken_over_by()) is not None:
            raise TrainingError(
                where=str(self._folder),
                came=f"{other.name} has taken this run over",
                expected=f"one run at a time in a folder ({LOCK})",
                todo="This one ends without writing; that one goes on. If it should not, stop it and start again with"
                " resume=auto.",
            )

    def _wait_for_end_of(self, holder: Owner) -> Owner | None:
        """Try again for as long as that owner is worth; where somebody has it still, say who."""
        began = time.monotonic()
        say_at = began
        while (now := time.monotonic()) - began < (patience_sec := self._patience_with(holder)):
            if self._is_asked_to_stop():
                break
            if now >= say_at:
                limit = (
                    f"{patience_sec:.0f} s at most"
                    if math.isfinite(patience_sec)
                    else "as long as this job may run"
                )
                _say(f"{self._folder} is in use by {holder.name}; waiting for its end, {limit}.")
                say_at = now + _SAY_SEC
            time.sleep(_TRY_SEC)
            still = self._try_to_take()
            if still is None:
                return None
            holder = still
        return holder

    def _patience_with(self, holder: Owner) -> float:
        """Say for how many seconds in all an owner is waited for."""
        own = self._own
        if own.job is not None and holder.job == own.job and holder.restarts < own.restarts:
            return math.inf
        if holder.host not in ("", own.host):
            return self._patience_sec
        # Its sweep was killed, which asked it to save and stop.
        is_ending = holder.ends_with is not None and not process_is_running(holder.ends_with)
        return self._patience_sec if is_ending else 0.0

    def _try_to_take(self) -> Owner | None:
        """Take the lock; where somebody has it, say who."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _IS_HELD:
                holder = _read_owner(file)
                os.close(file)
                return holder
            if error.errno not in _NO_LOCKS:
                os.close(file)
                raise
            _say(
                f"{self._path}: this file system has no locks ({error.strerror}); of two runs in one folder the earlier"
                " ends at its next checkpoint."
            )
        if not self._is_current(file):  # its owner removed it between our two calls
            os.close(file)
            return self._try_to_take()
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(asdict(self._own)).encode(), 0)
        os.fsync(file)
        self._file = file
        return None

    def _taken_over_by(self) -> Owner | None:
        """Name another process that has the folder now; a file that was removed names nobody."""
        assert self._file is not None
        if self._is_current(self._file):
            found = _read_owner(self._file)
        else:
            try:
                other = os.open(self._path, os.O_RDONLY)  # another file: closing it leaves our lock
            except FileNotFoundError:
                return None
            found = _read_owner(other)
            os.close(other)
        return None if found.token == self._own.token else found

    def _is_current(self, file: int) -> bool:
        """Whether an open file is the one that has the name now."""
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(file))


def _read_owner(file: int) -> Owner:
    """Read what an owner wrote; one that is just about to write has no name yet."""
    try:
        return Owner(**json.loads(os.pread(file, _MOST_BYTES, 0)))
    except (ValueError, TypeError):
        return Owner("", 0, None, 0, "just now", "")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
