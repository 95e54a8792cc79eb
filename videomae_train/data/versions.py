"""Whether a file is still the one that was read: its version at a glance, its checksum in doubt."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from videomae_train.data.copying import FileFacts, read_blocks
from videomae_train.data.locations import Location
from videomae_train.data.remote import RemoteFiles
from videomae_train.errors import ShardError


@dataclass(frozen=True)
class FileVersion:
    """What a file system or a server says of a file without giving its bytes.

    Attributes:
        num_bytes: Its length.
        mark: Another one when the file is written again: time of change, which no program can set back, or what
            the server gives (`RemoteFiles.version`). "" if there is none.
    """

    num_bytes: int
    mark: str


def version_of(files: RemoteFiles, place: Location) -> FileVersion:
    """Ask for a file's version.

    Raises:
        ShardError: The file is not there, or the server cannot be asked.
    """
    if place.is_remote:
        return FileVersion(*files.version(place))
    try:
        status = place.path.stat()
    except OSError as error:
        raise ShardError(
            where=str(place),
            came=str(error.strerror),
            expected="a readable file",
            todo="Check the path and its permissions.",
        ) from error
    return FileVersion(status.st_size, str(status.st_ctime_ns))


def is_unchanged(files: RemoteFiles, place: Location, version: FileVersion, facts: FileFacts | None) -> bool:
    """Say whether a file has the bytes that it had; it is read only if its version leaves that open.

    Args:
        files: Reads remote ones.
        place: The file.
        version: As it was, asked for before the file was read.
        facts: What was read; None if it was not read to its end.

    Raises:
        ShardError: The file is not there, or cannot be read.
    """
    now = version_of(files, place)
    if now == version and version.mark:
        return True
    if facts is None or now.num_bytes != facts.num_bytes:
        return False
    digest = sha256()
    for block in read_blocks(files, place, now.num_bytes):
        digest.update(block)
    return digest.hexdigest() == facts.sha256
