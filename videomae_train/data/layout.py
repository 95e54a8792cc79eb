"""What a packed data set looks like on disk: file names, the columns of its index, its description.

shard-000000.tar ...   <key>.<video extension> and <key>.json for each video
index.arrow            one row per video, Arrow IPC, ordered by shard and place in it
faults.json            the source's videos that are not in the set, and why
.unfinished/           while it is being made only, see `unfinished`
dataset.json           classes, splits, shards with checksums, fingerprint; written last
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from uuid import uuid4

import pyarrow as pa

INDEX_FILE = "index.arrow"
FAULTS_FILE = "faults.json"
DESCRIPTION_FILE = "dataset.json"
SHARDS = "shard-*.tar"
FORMAT_VERSION = 1
SPLIT_PREFIX = "split."

_FIXED_COLUMNS = pa.schema(
    [
        ("key", pa.string()),
        ("shard", pa.int32()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        ("extension", pa.string()),
        ("label", pa.int32()),
        ("num_frames", pa.int32()),
        ("fps", pa.float32()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("checksum", pa.binary(16)),
    ]
)


@dataclass(frozen=True)
class IndexRow:
    """One video of the set.

    Attributes:
        key: Its name in the shards, without extension.
        shard: Number of its shard.
        offset: First byte of the video in the shard file.
        size: Bytes of the video.
        extension: Lower case, without the dot.
        label: Class number, -1 if it has none.
        num_frames: Frames that decoding put out.
        fps: Frames per second as the file states them, 0.0 if it does not.
        height: Pixels, upright.
        width: Pixels, upright.
        checksum: 16 bytes of blake2b over the video.
        splits: Split -> part.
    """

    key: str
    shard: int
    offset: int
    size: int
    extension: str
    label: int
    num_frames: int
    fps: float
    height: int
    width: int
    checksum: bytes
    splits: dict[str, str]


def shard_name(number: int) -> str:
    """Name the shard of a number: "shard-000007.tar"."""
    return f"shard-{number:06d}.tar"


def partial_file(file: Path) -> Path:
    """Give a file the name that it has until it is whole; each call another, for jobs that fill one folder."""
    return file.with_name(f"{file.name}.{uuid4().hex[:12]}.partial")


def remove_partial_files(folder: Path, names: Iterable[str]) -> None:
    """Remove what killed processes left of files that were not whole; nobody may be writing them now.

    Args:
        folder: Where they are.
        names: Of the whole files, or patterns of them.
    """
    for name in names:
        for file in folder.glob(f"{name}.*.partial"):
            file.unlink(missing_ok=True)


def index_schema(splits: tuple[str, ...]) -> pa.Schema:
    """List the columns of an index with these splits; a split's cells name parts, null where it has none."""
    return pa.schema([*_FIXED_COLUMNS, *((SPLIT_PREFIX + split, pa.string()) for split in splits)])


def write_index(file: Path, rows: list[IndexRow], splits: tuple[str, ...]) -> None:
    """Write the index under a temporary name and rename it."""
    schema = index_schema(splits)
    columns = [[getattr(row, field.name) for row in rows] for field in _FIXED_COLUMNS]
    columns += [[row.splits.get(split) for row in rows] for split in splits]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    partial = partial_file(file)
    with pa.OSFile(str(partial), "wb") as stream, pa.ipc.new_file(stream, schema) as writer:
        writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    partial.replace(file)


def write_json(file: Path, content: Mapping[str, object], *, indent: int | None = 2) -> None:
    """Write a JSON file under a temporary name and rename it."""
    partial = partial_file(file)
    partial.write_text(json.dumps(content, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(file)


def content_checksum(content: bytes) -> bytes:
    """Condense a video's bytes to 16 bytes (blake2b)."""
    return blake2b(content, digest_size=16).digest()


def fingerprint_videos(videos: Iterable[tuple[str, bytes]]) -> str:
    """Condense a set to what it holds, never where it lies.

    Args:
        videos: Key and checksum of each video, in index order.

    Returns:
        32 hexadecimal digits.
    """
    digest = blake2b(digest_size=16)
    for key, checksum in videos:
        digest.update(f"{len(key)}:{key}".encode() + checksum)
    return digest.hexdigest()
