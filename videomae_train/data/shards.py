"""Shards: plain WebDataset tar files, written whole or not at all, and found again member by member."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

from webdataset.writer import TarWriter

from videomae_train.data.layout import partial_file
from videomae_train.errors import ShardError


@dataclass(frozen=True)
class ShardSample:
    """What one video puts into a shard: `<key>.<extension>` and `<key>.json`.

    Attributes:
        key: Unique name without a dot, because webdataset cuts names at the first one.
        extension: The video's, lower case, without the dot.
        content: The video's bytes.
        metadata: Content of the .json member.
    """

    key: str
    extension: str
    content: bytes
    metadata: dict[str, object]


@dataclass(frozen=True)
class ShardFacts:
    """A finished shard.

    Attributes:
        name: File name.
        num_videos: Videos in it.
        num_bytes: Size of the file.
        sha256: Of the whole file, hexadecimal.
    """

    name: str
    num_videos: int
    num_bytes: int
    sha256: str


def write_shard(file: Path, samples: Iterable[ShardSample]) -> ShardFacts | None:
    """Write a shard under a temporary name and rename it when it is whole.

    The same samples give the same bytes: no clock, no user name. Samples are taken one at a time.

    Returns:
        None if there was no sample; then there is no file either.

    Raises:
        OSError: The disk is full, or cannot be written; what `samples` raises is raised too. No file is left.
    """
    partial = partial_file(file)
    try:
        count = _write(partial, samples)
    except BaseException:
        partial.unlink(missing_ok=True)  # on a full disk it would be in the way of everybody else
        raise
    if count == 0:
        partial.unlink()
        return None
    with partial.open("rb") as stream:
        sha256 = file_digest(stream, "sha256").hexdigest()
    facts = ShardFacts(file.name, count, partial.stat().st_size, sha256)
    partial.replace(file)
    return facts


def _write(partial: Path, samples: Iterable[ShardSample]) -> int:
    """Write the file, and say of how many samples."""
    count = 0
    with partial.open("wb") as stream:
        with TarWriter(stream, encoder=False, mtime=0) as writer:
            for sample in samples:
                writer.write(_members(sample))
                count += 1
        stream.flush()
        os.fsync(stream.fileno())
    return count


def _members(sample: ShardSample) -> dict[str, object]:
    text = json.dumps(sample.metadata, sort_keys=True, ensure_ascii=False)
    return {"__key__": sample.key, sample.extension: sample.content, "json": text.encode()}


def scan_shard(file: Path) -> dict[str, tuple[int, int]]:
    """Find the byte range of each member of a shard.

    Returns:
        Member name -> (offset, size) of its content in the file, in the order of the file.

    Raises:
        ShardError: The file is not a tar file or is cut.
    """
    try:
        with tarfile.open(file, "r:") as archive:
            members = archive.getmembers()
    except (tarfile.TarError, OSError) as error:
        raise ShardError(
            where=str(file),
            came=str(error),
            expected="a whole tar file",
            todo="Pack or copy the shard again.",
        ) from error
    return {member.name: (member.offset_data, member.size) for member in members if member.isfile()}
