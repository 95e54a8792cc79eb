"""Reading byte ranges of shard files."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

from videomae_train.errors import ShardError

_MAX_OPEN_FILES = 64


class ShardReader:
    """Reads parts of local shard files, keeping a few of them open.

    A copy in another process starts without open files. `os.pread` has no position, so that forked processes
    can share one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: OrderedDict[str, int] = OrderedDict()

    def __getstate__(self) -> dict[str, object]:
        return {"folder": self.folder, "_files": OrderedDict()}

    def read(self, shard: str, offset: int, size: int) -> bytes:
        """Read a byte range.

        Raises:
            ShardError: The file cannot be read, or ends before the range does.
        """
        try:
            content = os.pread(self._open(shard), size, offset)
        except OSError as error:
            raise self._error(shard, str(error.strerror), "a readable shard") from error
        if len(content) != size:
            came = f"{len(content)} of {size} bytes at {offset}"
            raise self._error(shard, came, "a shard as long as the index says")
        return content

    def _open(self, shard: str) -> int:
        if shard in self._files:
            self._files.move_to_end(shard)
            return self._files[shard]
        if len(self._files) >= _MAX_OPEN_FILES:
            os.close(self._files.popitem(last=False)[1])
        self._files[shard] = os.open(self.folder / shard, os.O_RDONLY)
        return self._files[shard]

    def close(self) -> None:
        """Close the files; the next read opens them again."""
        while self._files:
            os.close(self._files.popitem()[1])

    def __del__(self) -> None:
        self.close()

    def _error(self, shard: str, came: str, expected: str) -> ShardError:
        todo = "Copy or pack the data set again."
        return ShardError(where=str(self.folder / shard), came=came, expected=expected, todo=todo)
