"""One run at a time in a folder; owners are processes of their own, since a process is never locked out by itself."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from videomae_train.errors import ConfigError, TrainingError
from videomae_train.training import folder_lock
from videomae_train.training.folder_lock import LOCK, FolderLock

LONGEST_SEC = 30.0


@contextmanager
def forked(action: Callable[[], None]) -> Generator[int]:
    """A process that acts and then waits to be killed."""
    ready, done = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            action()
            os.write(done, b".")
            time.sleep(LONGEST_SEC)
        finally:
            os._exit(1)
    os.close(done)
    assert os.read(ready, 1) == b".", "it failed"
    os.close(ready)
    try:
        yield process
    finally:
        kill(process)


def kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def owned(folder: Path, host: str | None = None) -> Callable[[], None]:
    def take() -> None:
        if host is not None:
            folder_lock.host_name = lambda: host  # type: ignore[attr-defined]
        FolderLock(folder).__enter__()

    return take


def refusal(folder: Path, patience_sec: float = LONGEST_SEC) -> str:
    with pytest.raises(ConfigError) as refused, FolderLock(folder, patience_sec):
        pass
    return str(refused.value)


def test_folder_in_use__is_refused_with_the_name_of_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    run = tmp_path / "run"
    with forked(owned(run)) as process:
        message = refusal(run)
        assert f"{run}, in use by process {process} on " in message
        assert "of Slurm job 4711 (since " in message
        assert "resume=auto" in message
        assert f"remove {run / LOCK}" in message


def test_killed_owner__leaves_its_name_and_no_lock(tmp_path: Path) -> None:
    with forked(owned(tmp_path)) as process:
        kill(process)
        assert f'"process": {process}' in (tmp_path / LOCK).read_text()
        with FolderLock(tmp_path):
            pass


def test_owner_whose_sweep_was_killed__is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has been asked to stop, and saves; at the next start of the sweep it may still be at it."""
    with forked(lambda: None) as sweep:
        monkeypatch.setenv("VIDEOMAE_STARTED_BY_PROCESS", str(sweep))
        with forked(owned(tmp_path)) as process:
            monkeypatch.setattr(time, "sleep", lambda _: kill(process))
            assert f"in use by process {process} on " in refusal(tmp_path), "its sweep is there"
            kill(sweep)
            with FolderLock(tmp_path):
                pass
    assert f"in use by process {process} on " in capsys.readouterr().err


def test_killed_owner__whose_forked_workers_live_on_does_not_block(tmp_path: Path) -> None:
    workers: list[int] = []
    seen, tell = os.pipe()

    def take_and_fork() -> None:
        owned(tmp_path)()
        worker = os.fork()
        if worker == 0:
            time.sleep(LONGEST_SEC)
            os._exit(0)
        os.write(tell, str(worker).encode())

    with forked(take_and_fork) as process:
        workers.append(int(os.read(seen, 20)))
        refusal(tmp_path)
        kill(process)
        try:
            os.kill(workers[0], 0)
            with FolderLock(tmp_path):
                pass
        finally:
            os.kill(workers[0], signal.SIGKILL)


def test_folder__is_free_and_tidy_after_a_good_end(tmp_path: Path) -> None:
    with FolderLock(tmp_path) as lock:
        lock.check()
        with forked(lambda: None):  # a child that inherits everything
            lock.check()
    assert not list(tmp_path.iterdir())
    with forked(owned(tmp_path)):
        refusal(tmp_path)


def test_looking__does_not_give_the_lock_away(tmp_path: Path) -> None:
    with FolderLock(tmp_path) as lock:
        lock.check()
        with forked(lambda: _write(tmp_path / "found", refusal(tmp_path))):
            assert f"process {os.getpid()} on" in (tmp_path / "found").read_text()


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def test_owner_elsewhere__is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_lock, "_TRY_SEC", 0.01)
    with forked(owned(tmp_path, host="n2")) as process:
        assert f"process {process} on n2" in refusal(tmp_path, patience_sec=0.05)
        original = time.sleep

        def dies_meanwhile(seconds: float) -> None:
            kill(process)
            original(seconds)

        monkeypatch.setattr(time, "sleep", dies_meanwhile)
        with FolderLock(tmp_path):
            pass
    assert f"in use by process {process} on n2" in capsys.readouterr().err


def requeued_to(monkeypatch: pytest.MonkeyPatch, restarts: int) -> None:
    """Let this process be of job 4711's so many-th start anew; all its waiting is quick."""
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("SLURM_RESTART_COUNT", str(restarts))
    monkeypatch.setattr(folder_lock, "_TRY_SEC", 0.01)


@pytest.mark.parametrize("host", [None, "n2"])
def test_requeued_job__waits_for_its_earlier_start_past_all_patience(
    host: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    requeued_to(monkeypatch, 1)
    with forked(owned(tmp_path, host)) as process:
        requeued_to(monkeypatch, 2)
        tries, original = 0, time.sleep

        def dies_at_last(seconds: float) -> None:
            nonlocal tries
            tries += 1
            if tries == 20:
                kill(process)
            original(seconds)

        monkeypatch.setattr(time, "sleep", dies_at_last)
        with FolderLock(tmp_path, patience_sec=0.0):
            assert tries == 20
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1, "once, and again every ten minutes"
    assert f"in use by process {process} on " in said[0]
    assert "as long as this job may run" in said[0]


def test_requeued_job__stops_waiting_on_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requeued_to(monkeypatch, 1)
    with forked(owned(tmp_path)) as process:
        requeued_to(monkeypatch, 2)
        answers = iter([False, False, True])
        lock = FolderLock(tmp_path, is_asked_to_stop=lambda: next(answers))
        with pytest.raises(ConfigError, match=f"in use by process {process} on "), lock:
            pass


def test_second_start_within_a_job__is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requeued_to(monkeypatch, 1)
    with forked(owned(tmp_path)):
        monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it waits"))
        refusal(tmp_path)
        monkeypatch.setenv("SLURM_JOB_ID", "4712")
        monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
        refusal(tmp_path)


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", refuse)


def test_file_system_without_locks__says_so_and_the_earlier_run_finds_the_later_one(
    no_locks: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FolderLock(tmp_path) as earlier:
        assert "this file system has no locks" in capsys.readouterr().err
        earlier.check()
        with forked(owned(tmp_path)) as later:
            with pytest.raises(TrainingError) as found:
                earlier.check()
            assert f"process {later} on " in str(found.value)
    assert (tmp_path / LOCK).exists(), "it is the later one's now"


def test_removed_by_its_last_owner_in_this_moment__is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = fcntl.lockf, 0

    def after_the_end_of_another(file: int, operation: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            (tmp_path / LOCK).unlink()
        original(file, operation)

    monkeypatch.setattr(fcntl, "lockf", after_the_end_of_another)
    with FolderLock(tmp_path), forked(lambda: _write(tmp_path / "found", refusal(tmp_path))):
        assert f"process {os.getpid()} on" in (tmp_path / "found").read_text()


def test_removed_by_hand__lets_a_new_run_in_and_ends_the_old_one(tmp_path: Path) -> None:
    with FolderLock(tmp_path) as earlier:
        (tmp_path / LOCK).unlink()
        earlier.check()  # nobody else is there
        with forked(owned(tmp_path)) as later, pytest.raises(TrainingError, match=f"process {later} on "):
            earlier.check()


def test_other_failures__are_not_taken_for_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(file: int, operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "lockf", broken)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), FolderLock(tmp_path):
        pass
