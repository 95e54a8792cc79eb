"""Checkpoint files: whole or not there, with a checksum beside them; the newest intact one is found again.

step-00000500.ckpt            what torch.save wrote
step-00000500.sha256          its checksum, as `sha256sum --check` reads it; written before the checkpoint has its name
step-00000500.unfinished      a checkpoint that is being written
step-00000500.ckpt.damaged    one that did not match its checksum, out of the way
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from videomae_train.errors import CheckpointError

_NAME = re.compile(r"step-(\d{8})\.ckpt")


def checkpoint_path(folder: Path, step: int) -> Path:
    """Name the checkpoint of a step."""
    return folder / f"step-{step:08d}.ckpt"


def list_checkpoints(folder: Path) -> list[Path]:
    """List a folder's checkpoints by rising step, whether intact or not; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if is_checkpoint(path))


def is_checkpoint(path: Path) -> bool:
    """Say whether a name is a checkpoint's."""
    return _NAME.fullmatch(path.name) is not None


def newest_checkpoint(folder: Path) -> Path | None:
    """Find the checkpoint of the highest step, or None when the folder is missing or has none."""
    return next(reversed(list_checkpoints(folder)), None)


def step_of(path: Path) -> int:
    """Read the step off a checkpoint's name."""
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1])


def write_checkpoint(state: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint to the disk, under its name only once it is there with its checksum.

    Args:
        state: What `torch.load(weights_only=True)` can read again.
        path: Its name, as `checkpoint_path` gives it.

    Raises:
        CheckpointError: The disk is full or fails; what was there before is left as it was.
    """
    unfinished = path.with_suffix(".unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            hashing = _HashingFile(file)
            _save(state, hashing)
            _to_disk(file)
        _write_checksum(path, hashing.hexdigest())
        unfinished.replace(path)
        _folder_to_disk(path.parent)
    except OSError as error:
        _remove_quietly(unfinished)
        raise _not_written(path, error) from error


def _save(state: Mapping[str, Any], file: _HashingFile) -> None:
    try:
        torch.save(state, cast("BinaryIO", file))
    except RuntimeError:
        if file.failure is None:
            raise
        # torch's writer finds its file unfinished, and says that instead of what happened to it.
        raise file.failure from None


class _HashingFile:
    """A file to write to that condenses what passes through, so that nothing is read again."""

    def __init__(self, file: BinaryIO) -> None:
        self.failure: OSError | None = None
        self._file, self._hash = file, sha256()

    def write(self, content: bytes) -> int:
        try:
            written = self._file.write(content)
        except OSError as error:
            self.failure = error
            raise
        self._hash.update(content)
        return written

    def flush(self) -> None:
        self._file.flush()

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _folder_to_disk(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _checksum_file(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _write_checksum(path: Path, digest: str) -> None:
    with _checksum_file(path).open("wb") as file:
        file.write(f"{digest}  {path.name}\n".encode())
        _to_disk(file)


def _remove_quietly(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:  # the failure that is about to be reported matters more
        print(f"{path} cannot be removed: {error}", file=sys.stderr)


def _not_written(path: Path, error: OSError) -> CheckpointError:
    before = newest_checkpoint(path.parent)
    disk = next(folder for folder in path.absolute().parents if folder.is_dir())
    kept = f"{before.name} is kept. " if before else "There is no earlier one. "
    return CheckpointError(
        where=str(path),
        came=f"it could not be written: {error.strerror or error}; {shutil.disk_usage(disk).free:,} bytes free",
        expected="room for a checkpoint and a disk that takes it",
        todo=f"{kept}Make room, then start the same command again with resume=auto.",
    )


def damage_of(path: Path) -> str | None:
    """Say what is wrong with a checkpoint, or None if it is what was written.

    Raises:
        OSError: It cannot be read at all.
    """
    beside = _checksum_file(path)
    if not beside.is_file():
        return f"no checksum beside it ({beside.name})"
    words = beside.read_text(errors="replace").split()
    with path.open("rb") as file:
        found = file_digest(file, "sha256").hexdigest()
    return None if words[:1] == [found] else f"it does not match {beside.name}"


def choose_checkpoint(folder: Path) -> Path:
    """Find the newest intact checkpoint; damaged ones on the way are named and moved aside.

    Raises:
        CheckpointError: There is none, or one cannot be read.
    """
    damaged: list[str] = []
    for path in reversed(list_checkpoints(folder)):
        try:
            damage = damage_of(path)
        except OSError as error:
            raise CheckpointError(
                where=str(path), came=f"it cannot be read: {error.strerror or error}",
                expected="a disk that gives it", todo="Start the same command again, or remove the file.",
            ) from error  # fmt: skip
        if damage is None:
            return path
        aside = path.with_name(f"{path.name}.damaged")
        path.replace(aside)
        print(f"damaged checkpoint, passed by: {aside}: {damage}", file=sys.stderr)
        damaged.append(aside.name)
    raise CheckpointError(
        where=str(folder),
        came=f"no intact checkpoint; damaged: {', '.join(damaged) or 'none'}",
        expected="at least one that matches its checksum",
        todo="Copy the files there again, or start a new run in another folder.",
    )


def tidy_checkpoints(folder: Path) -> None:
    """Remove what a killed save has left: unfinished files, and checksums without a checkpoint."""
    for path in folder.glob("step-*.unfinished"):
        path.unlink()
    for path in folder.glob("step-*.sha256"):
        if not path.with_suffix(".ckpt").exists():
            path.unlink()


def keep_newest(folder: Path, count: int) -> None:
    """Remove all checkpoints but the newest `count` (>= 1)."""
    for path in list_checkpoints(folder)[:-count]:
        remove_checkpoint(path)


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint with its checksum."""
    path.unlink()
    _checksum_file(path).unlink(missing_ok=True)
