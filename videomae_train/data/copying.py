"""Copying files with proof: what arrives has the checksum that the data set states, or there is an error."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import BinaryIO

from videomae_train.data.layout import partial_file
from videomae_train.data.locations import Location
from videomae_train.data.remote import BLOCK_BYTES, RemoteFiles
from videomae_train.errors import ShardError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FileFacts:
    """What the bytes of a file have to be.

    Attributes:
        num_bytes: Its length.
        sha256: Hexadecimal; None if nobody noted it.
    """

    num_bytes: int
    sha256: str | None

    def are_those_of(self, file: Path) -> bool:
        """Say whether a file on this machine has these bytes; without a checksum its length decides."""
        if not file.is_file() or file.stat().st_size != self.num_bytes:
            return False
        if self.sha256 is None:
            return True
        with file.open("rb") as stream:
            return file_digest(stream, "sha256").hexdigest() == self.sha256


def copy_verified(
    files: RemoteFiles,
    source: Location,
    facts: FileFacts,
    destination: Path,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> None:
    """Copy a file to a folder that exists; the destination is whole or not there.

    Args:
        files: Reads remote sources.
        source: The file.
        facts: What has to arrive.
        destination: The file to be.
        on_bytes: Told how many more bytes have come.

    Raises:
        ShardError: Other bytes came, from a server twice.
        OSError: The destination cannot be written.
    """
    partial = partial_file(destination)
    try:
        with partial.open("wb") as stream:
            write_verified(files, source, facts, stream, on_bytes)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(destination)
    finally:
        partial.unlink(missing_ok=True)


def write_verified(
    files: RemoteFiles,
    source: Location,
    facts: FileFacts,
    stream: BinaryIO,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> None:
    """Write a file's bytes into a stream from its beginning; arguments and errors as `copy_verified`."""
    found = ""
    for _ in range(2 if source.is_remote else 1):  # what came from a server may have been torn on its way
        digest = sha256()
        stream.seek(0)
        for block in read_blocks(files, source, facts.num_bytes):
            stream.write(block)
            digest.update(block)
            on_bytes(len(block))
        found = digest.hexdigest()
        if facts.sha256 in (None, found):
            return
        on_bytes(-facts.num_bytes)
    raise ShardError(
        where=str(source),
        came=f"bytes of the sha256 {found[:12]}...",
        expected=f"{facts.sha256 or ''} as dataset.json says",
        todo="The file was changed or damaged: copy or pack it again.",
    )


def read_blocks(files: RemoteFiles, source: Location, num_bytes: int | None = None) -> Iterator[bytes]:
    """Read a file piece by piece.

    Args:
        files: Reads remote sources.
        source: The file.
        num_bytes: Length of a remote one; None asks the server for it.

    Raises:
        ShardError: It cannot be read.
    """
    if source.is_remote:
        yield from files.blocks(source, 0, files.size(source) if num_bytes is None else num_bytes)
        return
    try:
        with source.path.open("rb") as stream:
            while block := stream.read(BLOCK_BYTES):
                yield block
    except OSError as error:
        raise ShardError(
            where=str(source),
            came=str(error.strerror),
            expected="a readable file",
            todo="Check the path and its permissions.",
        ) from error


@contextmanager
def alone_in(folder: Path) -> Generator[bool]:
    """Hold a lock of a folder that exists, waiting for other processes of this machine; leaves no file in it.

    Yields:
        False on a network disk that knows no locks of folders: another process may be there too.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield _is_locked(descriptor, folder)
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int, folder: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _log.warning("%s: another process is filling it; waiting for its end.", folder)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


@contextmanager
def exclusive(file: Path) -> Generator[None]:
    """Hold a lock file, waiting for other processes of this machine; the kernel releases it if one dies."""
    with file.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
