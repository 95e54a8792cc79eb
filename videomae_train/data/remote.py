"""Reading from servers: byte ranges through fsspec, repeated with back-off, with errors of ours only.

One primitive, the byte range of at most 16 MiB, serves everything: each can be repeated by itself and has its own
time limit, and memory stays small.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

import fsspec
from fsspec.asyn import AsyncFileSystem, sync

from videomae_train.data.locations import Location
from videomae_train.errors import ConfigError, ShardError, check_number

BLOCK_BYTES = 16 * 2**20

# The only repetitions are ours, so that their number and the time they take are what the options say.
_FILE_SYSTEM_OPTIONS: dict[str, dict[str, Any]] = {"s3": {"config_kwargs": {"retries": {"max_attempts": 0}}}}
# What another attempt cannot change.
_FINAL = (FileNotFoundError, IsADirectoryError, PermissionError, NotImplementedError, TypeError, ValueError)
# What the file systems of fsspec call a file's ETag, or else the time of its last change.
_VERSION_FIELDS = ("ETag", "etag", "Last-Modified", "LastModified", "last_modified", "mtime", "updated")
_WORTH_REPEATING = frozenset({408, 425, 429})

Result = TypeVar("Result")


@dataclass(frozen=True)
class RemoteOptions:
    """How patient a machine is with its servers, and with disks that hang on one; changes nothing in what is read.

    Attributes:
        retries: Further attempts after a failed one.
        first_delay_sec: Pause before the first of them; each further pause is twice as long.
        timeout_sec: The longest that one attempt, at most 16 MiB, may take.
    """

    retries: int = 5
    first_delay_sec: float = 0.5
    timeout_sec: float = 60.0

    def __post_init__(self) -> None:
        """Refuse what is no patience at all.

        Raises:
            ConfigError: A number is out of range.
        """
        part = "loader.storage.remote"
        check_number(f"{part}.retries", self.retries, least=0, such_as=5)
        check_number(f"{part}.first_delay_sec", self.first_delay_sec, least=0, such_as=0.5)
        check_number(f"{part}.timeout_sec", self.timeout_sec, above=0, such_as=60)

    def pauses_sec(self) -> Iterator[float]:
        """Give the pause before each further attempt."""
        return (self.first_delay_sec * 2.0**number for number in range(self.retries))


class RemoteFiles:
    """Reads files behind URLs.

    The connections belong to the process that made them: a forked or unpickled copy makes its own.

    Args:
        options: How patient to be.
    """

    def __init__(self, options: RemoteOptions) -> None:
        self.options = options
        self._pid = -1
        self._systems: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, object]:
        return {"options": self.options, "_pid": -1, "_systems": {}}

    def size(self, file: Location) -> int:
        """Ask for a file's length in bytes.

        Raises:
            ShardError: The server does not say, after all attempts.
        """
        return self.version(file)[0]

    def version(self, file: Location) -> tuple[int, str]:
        """Ask for a file's length in bytes, and for what is another when the file is written again.

        Returns:
            Length, and ETag or time of change; "" if the server states neither.

        Raises:
            ShardError: The server does not state the length, after all attempts.
        """
        info = self._repeat(file, lambda system: _call(system, "info", file.address, timeout=self._limit))
        if info.get("size") is None:
            raise _gave_up(file, "a server that does not state the length", 1)
        return int(info["size"]), next((str(info[name]) for name in _VERSION_FIELDS if info.get(name)), "")

    def read(self, file: Location, offset: int, size: int) -> bytes:
        """Read a byte range, in several requests if it is large.

        Raises:
            ShardError: Not all of it came, after all attempts; says what the server said.
        """
        return b"".join(self.blocks(file, offset, size))

    def read_whole(self, file: Location) -> bytes:
        """Read a small file of unknown length."""
        return self.read(file, 0, self.size(file))

    def blocks(self, file: Location, offset: int, size: int) -> Iterator[bytes]:
        """Read a byte range piece by piece; raises as `read`."""
        for start in range(offset, offset + size, BLOCK_BYTES):
            yield self._block(file, start, min(BLOCK_BYTES, offset + size - start))

    def find(self, folder: Location, ending: str) -> list[str]:
        """List the files below a folder, as names relative to it, in order.

        Raises:
            ShardError: The server cannot be asked.
        """
        addresses = self._repeat(
            folder,
            lambda system: [system.unstrip_protocol(name) for name in _find(system, folder, self._limit)],
        )
        prefix = folder.address + "/"
        return sorted(
            a.removeprefix(prefix) for a in addresses if a.startswith(prefix) and a.endswith(ending)
        )

    @property
    def _limit(self) -> float:
        return self.options.timeout_sec

    def _block(self, file: Location, start: int, size: int) -> bytes:
        def attempt(system: Any) -> bytes:
            content = _call(
                system, "cat_file", file.address, start=start, end=start + size, timeout=self._limit
            )
            if len(content) > size:
                raise ValueError(f"{len(content)} bytes where {size} were asked for: it ignores byte ranges")
            if len(content) < size:
                raise EOFError(f"{len(content)} of {size} bytes at {start}")
            return content

        return self._repeat(file, attempt)

    def _repeat(self, file: Location, attempt: Callable[[Any], Result]) -> Result:
        for number, pause_sec in enumerate(chain(self.options.pauses_sec(), [0.0]), start=1):
            try:
                return attempt(self._system(file))
            except ConfigError:
                raise
            except Exception as error:  # whatever the library behind a file system raises
                if _is_final(error) or number > self.options.retries:
                    raise _gave_up(file, _said(error), number) from error
            time.sleep(pause_sec)
        raise AssertionError("the last attempt returns or raises")

    def _system(self, file: Location) -> Any:
        if self._pid != os.getpid():
            self._pid, self._systems = os.getpid(), {}
        protocol = file.address.partition("://")[0]
        if protocol not in self._systems:
            self._systems[protocol] = _open_system(protocol, file)
        return self._systems[protocol]


def _open_system(protocol: str, file: Location) -> Any:
    try:
        return fsspec.filesystem(protocol, **_FILE_SYSTEM_OPTIONS.get(protocol, {}))
    except (ImportError, ValueError) as error:
        raise ConfigError(
            where=str(file),
            came=f"an address of the kind {protocol}://, of which: {error}",
            expected="one that an installed file system reads",
            todo="pip install '.[remote]', from a clone, has http and s3; fsspec's documentation names the others.",
        ) from error


def _call(system: Any, name: str, *args: Any, timeout: float, **kwargs: Any) -> Any:
    """Call a file system's method with a time limit, where it can be interrupted."""
    if not isinstance(system, AsyncFileSystem):
        return getattr(system, name)(*args, **kwargs)

    async def limited() -> Any:
        return await asyncio.wait_for(getattr(system, "_" + name)(*args, **kwargs), timeout)

    return sync(system.loop, limited)


def _find(system: Any, folder: Location, timeout: float) -> list[str]:
    # A listing may be cached from before somebody added a shard.
    system.invalidate_cache()
    return _call(system, "find", folder.address, timeout=timeout)


def _is_final(error: Exception) -> bool:
    """Say whether another attempt is of no use."""
    status = getattr(error, "status", None)  # aiohttp's errors have one
    if isinstance(status, int):
        return 400 <= status < 500 and status not in _WORTH_REPEATING
    return isinstance(error, _FINAL)


def _said(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"


def _gave_up(file: Location, came: str, attempts: int) -> ShardError:
    return ShardError(
        where=str(file),
        came=f"{came} ({attempts} attempt{'s' * (attempts > 1)})",
        expected="a server that gives this file, also in byte ranges",
        todo="Check the address, the server and your credentials; docs/data.md, Remote shards.",
    )
