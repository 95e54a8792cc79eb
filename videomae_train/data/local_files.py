"""Reading byte ranges of files of this machine, whose disk may hang on a network."""

from __future__ import annotations

import os
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

from videomae_train.data.disk_trouble import is_of_the_file, repeat_in_trouble
from videomae_train.data.remote import RemoteOptions
from videomae_train.errors import ShardError

_MAX_OPEN_FILES = 64


def read_range(descriptor: int, offset: int, size: int) -> bytes:
    """Read a byte range of an open file; less if the file ends before.

    One call of the system gives at most 2,147,479,552 bytes (Linux), so that there may be several.
    """
    content = os.pread(descriptor, size, offset)
    while len(content) < size and (more := os.pread(descriptor, size - len(content), offset + len(content))):
        content += more
    return content


class LocalFiles:
    """Reads parts of files of this machine, keeping a few of them open.

    A copy in another process starts without open files. `os.pread` has no position, so that forked processes
    can share one.

    Args:
        options: How patient to be with a disk in trouble: it is asked as often as a server.
    """

    def __init__(self, options: RemoteOptions) -> None:
        self._options = options
        self._files: OrderedDict[Path, int] = OrderedDict()

    def __getstate__(self) -> dict[str, object]:
        return {"_options": self._options, "_files": OrderedDict()}

    def read(self, file: Path, offset: int, size: int) -> bytes:
        """Read a byte range.

        Raises:
            ShardError: The file cannot be read, or ends before.
        """
        try:
            content = repeat_in_trouble(lambda: self._attempt(file, offset, size), self._options.pauses_sec())
        except OSError as error:
            raise _unreadable(file, error) from error
        if len(content) != size:
            raise ShardError(
                where=str(file),
                came=f"{len(content)} of {size} bytes at {offset}",
                expected="a shard as long as the index says",
                todo="The shard was changed or damaged, or the index is another one's: copy or pack the set again.",
            )
        return content

    def _attempt(self, file: Path, offset: int, size: int) -> bytes:
        try:
            return read_range(self._open(file), offset, size)
        except OSError:
            self._forget(file)  # a stale handle stays stale
            raise

    def _open(self, file: Path) -> int:
        if file in self._files:
            self._files.move_to_end(file)
            return self._files[file]
        if len(self._files) >= _MAX_OPEN_FILES:
            os.close(self._files.popitem(last=False)[1])
        self._files[file] = os.open(file, os.O_RDONLY)
        return self._files[file]

    def _forget(self, file: Path) -> None:
        descriptor = self._files.pop(file, None)
        if descriptor is not None:
            with suppress(OSError):  # closing a stale handle may fail as well, and is done even so
                os.close(descriptor)

    def close(self) -> None:
        """Close all files; the next read opens them again."""
        while self._files:
            os.close(self._files.popitem()[1])

    def __del__(self) -> None:
        self.close()


def _unreadable(file: Path, error: OSError) -> ShardError:
    todo = "Check the path and its permissions, or copy or pack the set again."
    if not is_of_the_file(error):
        todo = "Check the disk, or the server that it is on, and start again when it works."
    return ShardError(where=str(file), came=str(error.strerror), expected="a readable shard", todo=todo)
