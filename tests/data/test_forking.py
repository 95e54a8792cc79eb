from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import IterableDataset

from videomae_train.data.loader import make_stream_loader
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


def test_worker__frees_nothing_that_the_parent_dropped(tmp_path: Path) -> None:
    freed = tmp_path / "freed by a worker"
    videos = Collecting()
    options = LoaderOptions(num_workers=1, prefetch_batches=1, pin_memory=False, decode_timeout_sec=60.0)
    loader = make_stream_loader(videos, videos, options)
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
