"""Whatever happens while checkpoints are written, there is an intact one to load, or an error that says why not."""

import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from videomae_train.errors import CheckpointError
from videomae_train.training.checkpoint_files import (
    checkpoint_path,
    choose_checkpoint,
    keep_newest,
    newest_checkpoint,
    tidy_checkpoints,
    write_checkpoint,
)

VALUES = 100_000


def write(folder: Path, step: int) -> Path:
    path = checkpoint_path(folder, step)
    write_checkpoint({"step": step, "weights": torch.full((VALUES,), float(step))}, path)
    return path


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def remove_the_checksum(path: Path) -> None:
    path.with_suffix(".sha256").unlink()


def empty_the_checksum(path: Path) -> None:
    path.with_suffix(".sha256").write_bytes(b"")


@contextmanager
def limited_file_size(num_bytes: int) -> Iterator[None]:
    """A real failure of write(2): Python ignores the signal that comes with it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_checkpoint__is_what_was_written_and_sha256sum_agrees(tmp_path: Path) -> None:
    path = write(tmp_path, 7)
    assert choose_checkpoint(tmp_path) == newest_checkpoint(tmp_path) == path
    assert torch.load(path, weights_only=True)["weights"].tolist() == [7.0] * VALUES
    subprocess.run(["sha256sum", "--check", "--status", "step-00000007.sha256"], cwd=tmp_path, check=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["step-00000007.ckpt", "step-00000007.sha256"]


@pytest.mark.parametrize("damage", [flip_a_bit, cut, remove_the_checksum, empty_the_checksum])
def test_damaged_newest__is_named_and_the_next_older_is_taken(
    tmp_path: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    older, newest = write(tmp_path, 1), write(tmp_path, 2)
    damage(newest)
    assert choose_checkpoint(tmp_path) == older
    assert "step-00000002.ckpt.damaged" in capsys.readouterr().err
    # Out of the way: it counts no longer among the last few, and step 2 can be written again.
    keep_newest(tmp_path, 1)
    assert choose_checkpoint(tmp_path) == older
    assert choose_checkpoint(write(tmp_path, 2).parent) == newest


def test_no_intact_one__is_an_error_and_no_new_beginning(tmp_path: Path) -> None:
    flip_a_bit(write(tmp_path, 1))
    with pytest.raises(CheckpointError, match=r"no intact checkpoint; damaged: step-00000001\.ckpt\.damaged"):
        choose_checkpoint(tmp_path)


@pytest.mark.parametrize("num_bytes", [0, 10_000, 4 * VALUES])
def test_failed_write__says_why_and_keeps_the_one_before(tmp_path: Path, num_bytes: int) -> None:
    older = write(tmp_path, 1)
    with limited_file_size(num_bytes), pytest.raises(CheckpointError) as caught:
        write(tmp_path, 2)
    message = str(caught.value)
    assert "step-00000002.ckpt: it could not be written: File too large" in message
    assert "bytes free" in message
    assert "step-00000001.ckpt is kept" in message
    assert choose_checkpoint(tmp_path) == older
    assert not list(tmp_path.glob("*.unfinished"))
    write(tmp_path, 2)  # with room again


def kill_at(number: int, name: str) -> None:
    """Let this process die when it calls a function of os for the n-th time."""
    original, calls = getattr(os, name), 0

    def dying(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments)

    setattr(os, name, dying)


# The file, its checksum, the folder: as many waits for the disk in one save; the second save writes step 2.
@pytest.mark.parametrize(("number", "newest"), [(1, 0), (2, 0), (3, 1), (4, 1), (5, 1), (6, 2)])
def test_kill_at_each_wait_for_the_disk__leaves_an_intact_one(
    tmp_path: Path, number: int, newest: int
) -> None:
    write(tmp_path, 0)
    process = os.fork()
    if process == 0:
        kill_at(number, "fsync")
        write(tmp_path, 1)
        write(tmp_path, 2)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    tidy_checkpoints(tmp_path)
    chosen = choose_checkpoint(tmp_path)
    assert chosen == checkpoint_path(tmp_path, newest)
    assert torch.load(chosen, weights_only=True)["step"] == newest
    assert {file.suffix for file in tmp_path.iterdir()} == {".ckpt", ".sha256"}
    assert len(list(tmp_path.iterdir())) == 2 * (newest + 1)


def test_keep_newest__removes_the_others_with_their_checksums(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        write(tmp_path, step)
    keep_newest(tmp_path, 2)
    assert sorted(file.stem for file in tmp_path.glob("*.sha256")) == ["step-00000002", "step-00000003"]
    assert len(list(tmp_path.iterdir())) == 4


def test_newest_checkpoint__of_no_folder_is_none(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "nowhere") is None
