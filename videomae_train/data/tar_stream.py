"""Tar files read once from beginning to end: every member with its place, and a checksum of the whole.

A cut tar file looks like a shorter one to most readers, webdataset and tarfile among them: they take any end, or a
damaged header, for the end of the archive. Here an archive ends with the block of zeros that closes it, or is an error.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import IO, cast

from videomae_train.data.copying import FileFacts, read_blocks
from videomae_train.data.locations import Location
from videomae_train.data.remote import RemoteFiles
from videomae_train.errors import ShardError

_BLOCK = 512
_READ_BYTES = 2**20


class CutShardError(ShardError):
    """A tar file that does not come to its end; also one that is no tar file."""


@dataclass(frozen=True)
class TarMember:
    """A file in a tar file.

    Attributes:
        name: As the archive has it.
        offset: First byte of its content in the archive.
        content: All of it.
    """

    name: str
    offset: int
    content: bytes


class TarStream:
    """Reads a tar file, on this machine or behind a URL.

    Args:
        place: The file.
        files: Reads remote ones.
        num_bytes: Length of a remote one; None asks the server for it.
    """

    def __init__(self, place: Location, files: RemoteFiles, num_bytes: int | None = None) -> None:
        self._place = place
        self._source = _HashedSource(read_blocks(files, place, num_bytes))

    def members(self) -> Iterator[TarMember]:
        """Give every file of the archive in order; afterwards `facts` are known.

        Raises:
            CutShardError: The archive is cut, damaged, compressed or none at all.
            ShardError: It cannot be read.
        """
        try:
            source = cast("IO[bytes]", self._source)
            with tarfile.open(fileobj=source, mode="r|", bufsize=_READ_BYTES) as archive:
                for info in archive:
                    stream = archive.extractfile(info) if info.isreg() else None
                    if stream is not None:
                        yield TarMember(info.name, info.offset_data, stream.read())
                end = archive.offset
        except tarfile.TarError as error:
            raise self._cut(str(error) or "no tar file") from error
        closing = self._source.recently_read(end, _BLOCK)
        self._source.drain()
        if closing != bytes(_BLOCK):
            raise self._cut(f"no end mark at byte {end} of {self._source.position}")

    @property
    def facts(self) -> FileFacts:
        """Length and checksum of the file, once all of it has been read."""
        return FileFacts(self._source.position, self._source.digest.hexdigest())

    def _cut(self, came: str) -> CutShardError:
        return CutShardError(
            where=str(self._place),
            came=came,
            expected="an uncompressed tar file that is whole to its end mark",
            todo="Fetch or write the shard again.",
        )


class _HashedSource:
    """Blocks as a file object for tarfile, which are hashed as they pass."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._block = b""
        self._place = 0
        self._recent = b""
        self.digest = sha256()
        self.position = 0

    def read(self, size: int) -> bytes:
        """Give the next bytes, at most so many; none at the end."""
        if self._place == len(self._block):
            self._block, self._place = next(self._blocks, b""), 0
        content = self._block[self._place : self._place + size]
        self._place += len(content)
        self.digest.update(content)
        self.position += len(content)
        self._recent = (self._recent + content)[-2 * _READ_BYTES :]
        return content

    def recently_read(self, start: int, size: int) -> bytes:
        """Give bytes again that are not further back than what tarfile reads ahead."""
        place = start - (self.position - len(self._recent))
        return self._recent[place : place + size]

    def drain(self) -> None:
        """Read to the end."""
        while self.read(_READ_BYTES):
            pass
