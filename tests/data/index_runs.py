"""Shards with faults, and runs of indexing on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from foreign_shards import tar_bytes, write_tar
from small_clips import encode, moving_frames, write_tree

from videomae_train.data.index_plan import IndexOptions
from videomae_train.data.indexing import IndexProgress, index_shards
from videomae_train.data.pack_summary import PackSummary
from videomae_train.data.tar_probing import TarTask

CLIPS = [
    encode(moving_frames(8 + number, 32, 40, seed=number), options={"preset": "ultrafast"})
    for number in range(9)
]
NAMES = ("train/000.tar", "train/001.tar", "train/002.tar", "val/000.tar")


def index(
    source: object,
    destination: Path | None,
    on_progress: Callable[[IndexProgress], None] = lambda _: None,
    **options: object,
) -> PackSummary:
    return index_shards(str(source), destination, IndexOptions(**options), on_progress)  # type: ignore[arg-type]


def members_of(number: int) -> list[tuple[str, bytes]]:
    """Two good videos, and between them what makes faults in the reader and in the children."""
    first, second = f"{number}a", f"{number}b"
    return [
        (f"{first}.mp4", CLIPS[2 * number]),
        (f"{first}.cls", b"run"),
        (f"{first}.json", json.dumps({"action": f"act{number}"}).encode()),
        (f"{number}broken.mp4", CLIPS[8][:300]),
        (f"{number}lonely.json", b"{}"),
        (f"{number}nolabel.mp4", CLIPS[8]),
        (f"{second}.mp4", CLIPS[2 * number + 1]),
        (f"{second}.cls", b"walk"),
    ]


def write_shards(folder: Path) -> Path:
    """Three shards and one that is cut; each has faults of its own."""
    for number, name in enumerate(NAMES[:3]):
        write_tar(folder / name, members_of(number))
    whole = tar_bytes(members_of(3))
    return write_tree(folder, {NAMES[3]: whole[: whole.index(b"3b.mp4") + 1000]})


@contextmanager
def no_children(
    work: Callable[[TarTask], object], items: Iterable[TarTask], **_: object
) -> Iterator[Iterator[tuple[TarTask, object]]]:
    """Decode here, one video after the other: for tests that count files rather than processes."""
    yield ((item, work(item)) for item in items)


def rewrite(shard: Path) -> None:
    write_tar(shard, [("1a.mp4", CLIPS[8]), ("1a.cls", b"jump")])
