"""Reading videos out of shards, wherever these are: right bytes, or an error."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from videomae_train.data.cache import ShardCache
from videomae_train.data.copying import FileFacts
from videomae_train.data.layout import content_checksum
from videomae_train.data.local_files import LocalFiles
from videomae_train.data.locations import Location
from videomae_train.data.remote import RemoteFiles, RemoteOptions
from videomae_train.errors import ShardError, check_number

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StorageOptions:
    """Where a machine keeps what it fetches from servers; changes nothing in what is read.

    Attributes:
        cache_dir: Folder on a local disk for indexes and shards of remote sets; all processes of a machine share it.
        cache_gib: Keep whole shards, at most so many GiB; 0 reads each video from the server, each time. To fetch
            every shard once per epoch it should hold two shuffle windows.
        remote: Attempts and time limits; the attempts are those at disks of this machine too.
    """

    cache_dir: Path = Path("~/.cache/videomae-train")
    cache_gib: float = 0.0
    remote: RemoteOptions = field(default_factory=RemoteOptions)

    def __post_init__(self) -> None:
        """Refuse less than no cache.

        Raises:
            ConfigError: `cache_gib` is negative.
        """
        check_number("loader.storage.cache_gib", self.cache_gib, least=0, such_as=0)


@dataclass(frozen=True)
class Shard:
    """A shard file.

    Attributes:
        place: Where it is.
        facts: Length and checksum.
    """

    place: Location
    facts: FileFacts


@dataclass(frozen=True)
class ByteRange:
    """Where a video is in its shard.

    Attributes:
        key: Its name, for messages.
        offset: First byte.
        size: Bytes.
        checksum: `layout.content_checksum` of them.
    """

    key: str
    offset: int
    size: int
    checksum: bytes


class ShardReader:
    """Reads videos out of shards by their number.

    Args:
        shards: By number.
        options: Cache and patience for remote ones.
    """

    def __init__(self, shards: Mapping[int, Shard], options: StorageOptions) -> None:
        self._shards = shards
        self._local = LocalFiles(options.remote)
        self._files = RemoteFiles(options.remote)
        cache_dir = options.cache_dir.expanduser()
        self._cache = ShardCache(cache_dir, int(options.cache_gib * 2**30), self._files)
        self._readahead = _Readahead(self._store) if options.cache_gib > 0 else None

    def read(self, number: int, wanted: ByteRange) -> bytes:
        """Read a video.

        Bytes of another checksum are an error at once on this machine; from a server they are asked for twice.

        Raises:
            ShardError: The shard cannot be read, ends too early, or holds other bytes.
        """
        shard = self._shards[number]
        if not shard.place.is_remote:
            return _checked(self._local.read(shard.place.path, wanted.offset, wanted.size), wanted, shard)
        content = self._from_cache(number, wanted)
        if content is None:
            content = self._from_server(shard, wanted)
            if content_checksum(content) != wanted.checksum:
                content = self._from_server(shard, wanted)
        return _checked(content, wanted, shard)

    def expect(self, number: int) -> None:
        """Start to fetch a remote shard into the cache, in the background; without a cache nothing happens."""
        if self._readahead is not None and self._shards[number].place.is_remote:
            self._readahead.ask(number)

    def close(self) -> None:
        """Close the files of this machine; the next read opens them again."""
        self._local.close()

    def _from_cache(self, number: int, wanted: ByteRange) -> bytes | None:
        sha256 = self._shards[number].facts.sha256
        if self._readahead is None or sha256 is None:
            return None
        content = self._cache.read(sha256, wanted.offset, wanted.size)
        if content is None:
            self._readahead.ask(number)
        elif content_checksum(content) != wanted.checksum:
            self._cache.drop(sha256)
            content = None
        return content

    def _from_server(self, shard: Shard, wanted: ByteRange) -> bytes:
        return self._files.read(shard.place, wanted.offset, wanted.size)

    def _store(self, number: int) -> None:
        self._cache.store(self._shards[number].place, self._shards[number].facts)


def _checked(content: bytes, wanted: ByteRange, shard: Shard) -> bytes:
    if content_checksum(content) != wanted.checksum:
        raise ShardError(
            where=f"{shard.place}, {wanted.key}",
            came="bytes of another checksum",
            expected="the bytes that were packed",
            todo="The shard was changed or damaged, or the index is another one's: copy or pack the set again.",
        )
    return content


class _Readahead:
    """Fetches shards one after the other, in a thread of the process that asks for them.

    A shard that cannot be fetched is not tried again; the videos in it are then read from the server, which either
    works or says why not.
    """

    def __init__(self, fetch: Callable[[int], None]) -> None:
        self._fetch = fetch
        self._pid = -1

    def __getstate__(self) -> dict[str, object]:
        return {"_fetch": self._fetch, "_pid": -1}

    def ask(self, number: int) -> None:
        """Put a shard on the list, unless it is there or has failed."""
        if self._pid != os.getpid():  # threads stay behind when a process forks
            self._pid, self._asked, self._list = os.getpid(), set[int](), SimpleQueue[int]()
            threading.Thread(target=self._work, name="shard readahead", daemon=True).start()
        if number not in self._asked:
            self._asked.add(number)
            self._list.put(number)

    def _work(self) -> None:
        while True:
            number = self._list.get()
            try:
                self._fetch(number)
            except ShardError as error:
                _log.warning("A shard is not kept on this machine. %s", error)
            else:
                self._asked.discard(number)
