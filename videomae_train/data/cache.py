"""A bounded folder of whole shards on this machine, shared by all its processes.

shards/<sha256>             a whole, verified shard; the least recently read ones go first
shards/<sha256>.partial     one that is being fetched, its full length reserved; locked by the process that fetches it
shards/lock                 held while room is made

Files are named by content: shards of equal names never meet, and equal shards of two sets are stored once. A lock
dies with its process, so that nothing has to be cleaned up by hand.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from videomae_train.data.copying import FileFacts, exclusive, write_verified
from videomae_train.data.local_files import read_range
from videomae_train.data.locations import Location
from videomae_train.data.remote import RemoteFiles

_PARTIAL = ".partial"
_LOCK = "lock"

_log = logging.getLogger(__name__)


class ShardCache:
    """Whole shards on this machine's disk, at most so many bytes.

    Args:
        folder: Of all caches; made when the first shard is stored.
        limit_bytes: Of all shards together, those that are being fetched included. 0 stores none.
        files: Reads from servers.
    """

    def __init__(self, folder: Path, limit_bytes: int, files: RemoteFiles) -> None:
        self._folder = folder / "shards"
        self._limit_bytes = limit_bytes
        self._files = files
        self._given_up = limit_bytes <= 0

    def read(self, sha256: str, offset: int, size: int) -> bytes | None:
        """Read a byte range of a shard; None if it is not here.

        The file is opened each time: one that is kept open would keep its space after it has been evicted.
        """
        try:
            descriptor = os.open(self._folder / sha256, os.O_RDONLY)
        except OSError:
            return None  # not here (any more), or not readable: the caller reads from the server
        try:
            os.utime(descriptor)
            return read_range(descriptor, offset, size)
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def drop(self, sha256: str) -> None:
        """Remove a shard that turned out to be damaged."""
        with exclusive(self._folder / _LOCK):
            (self._folder / sha256).unlink(missing_ok=True)

    def store(self, source: Location, facts: FileFacts) -> None:
        """Fetch a whole shard, unless it is here, is being fetched by another process, or has no room.

        When the disk is full this process goes on without storing more, with one warning.

        Raises:
            ShardError: The server gives no shard, or another one.
        """
        if self._given_up or facts.sha256 is None or (self._folder / facts.sha256).exists():
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._reserved(self._folder / facts.sha256, facts.num_bytes) as stream:
                if stream is not None:
                    if sys.platform == "linux":
                        os.posix_fallocate(stream.fileno(), 0, facts.num_bytes)  # a full disk shows now
                    write_verified(self._files, source, facts, stream)
        except OSError as error:
            self._given_up = True
            _log.warning(
                "%s: %s. No more shards are stored here; they are read from their server, byte range by byte range. "
                "Free some space, or lower loader.storage.cache_gib.",
                self._folder,
                error.strerror,
            )

    @contextmanager
    def _reserved(self, file: Path, num_bytes: int) -> Generator[BinaryIO | None]:
        """Open a file to fetch a shard into, its length counted from now on; it becomes the shard at the end.

        Names change under the folder's lock only, so that a claimed file is the one that its name means.
        """
        partial = file.with_name(file.name + _PARTIAL)
        with exclusive(self._folder / _LOCK):
            stream = None if file.exists() else self._open_with_room(partial, num_bytes)
        if stream is None:
            yield None
            return
        is_whole = False
        try:
            yield stream
            stream.flush()
            is_whole = True
        finally:
            with exclusive(self._folder / _LOCK):
                partial.replace(file) if is_whole else partial.unlink()
                stream.close()

    def _open_with_room(self, partial: Path, num_bytes: int) -> BinaryIO | None:
        """Claim a file of this length; None if another process has it or the limit has no room for it."""
        stream = _claim(partial)
        if stream is None:
            return None
        has_room = False
        try:
            if has_room := self._make_room(num_bytes, but=partial.name):
                os.truncate(stream.fileno(), num_bytes)
            return stream if has_room else None
        except OSError:
            has_room = False
            raise
        finally:
            if not has_room:
                partial.unlink()
                stream.close()

    def _make_room(self, num_bytes: int, *, but: str) -> bool:
        """Evict shards until there is room; say whether there is. Those that are being read stay readable."""
        for left_behind in self._folder.glob("*" + _PARTIAL):
            if left_behind.name != but and (stream := _claim(left_behind)) is not None:
                left_behind.unlink()
                stream.close()
        others = [entry for entry in os.scandir(self._folder) if entry.name not in (but, _LOCK)]
        free = self._limit_bytes - sum(entry.stat().st_size for entry in others)
        shards = [entry for entry in others if not entry.name.endswith(_PARTIAL)]
        if free + sum(entry.stat().st_size for entry in shards) < num_bytes:
            return False  # evicting all of them would not help
        for entry in sorted(shards, key=lambda entry: entry.stat().st_mtime_ns):
            if free >= num_bytes:
                break
            free += entry.stat().st_size
            os.unlink(entry.path)
        return True


def _claim(partial: Path) -> BinaryIO | None:
    """Open and lock a partial file; None if another process holds it. The caller holds the folder's lock."""
    stream = os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        return None
    return stream
