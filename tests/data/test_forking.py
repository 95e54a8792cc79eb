from __future__ import annotations

import gc
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import IterableDataset

from videomae_train.data.loader import BatchLoader, make_stream_loader
from videomae_train.data.options import LoaderOptions
from videomae_train.types import VideoFileBatch


class Threaded:
    """What a decoder with threads is: only the process that made it can free it."""

    def __init__(self, freed: Path) -> None:
        self.itself, self.freed, self.made_by = self, freed, os.getpid()

    def __del__(self) -> None:
        if os.getpid() != self.made_by:
            self.freed.touch()


class Collecting(IterableDataset[Any]):
    def __iter__(self) -> Iterator[VideoFileBatch]:
        gc.collect()
        empty: Any = ()
        yield VideoFileBatch(empty, empty, empty, ())

    def key(self, sample_id: int) -> str:
        return str(sample_id)

    def where(self, sample_id: int) -> str:
        return str(sample_id)

    def shard(self, sample_id: int) -> str:
        return ""


def collecting_loader() -> BatchLoader:
    videos = Collecting()
    options = LoaderOptions(num_workers=1, prefetch_batches=1, pin_memory=False, decode_timeout_sec=60.0)
    return make_stream_loader(videos, videos, options)


def test_worker__frees_nothing_that_the_parent_dropped(tmp_path: Path) -> None:
    freed = tmp_path / "freed by a worker"
    loader = collecting_loader()
    kept = Threaded(freed)
    gc.disable()
    try:
        for _ in range(3):
            Threaded(freed)
        del kept  # garbage in a cycle, which no count of references frees
        assert len(list(loader)) == 1
    finally:
        gc.enable()
    assert not freed.exists()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no call gives freed memory back")
def test_fork__shares_no_memory_that_is_free() -> None:
    blocks = [torch.ones(2**14, dtype=torch.uint8) for _ in range(2**13)]  # 128 MiB
    last = blocks.pop()  # on top of the others, which the allocator keeps therefore
    del blocks
    before = resident_bytes()
    assert len(list(collecting_loader())) == 1
    assert before - resident_bytes() > 2**26
    assert last.all()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
