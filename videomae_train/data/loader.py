"""Loaders: items to batches, in worker processes, with errors that arrive as they were raised."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, Sampler, SequentialSampler

from videomae_train.data.datasets import (
    EvaluationDataset,
    EvaluationItem,
    LabeledItem,
    PretrainItem,
)
from videomae_train.data.device_crops import join_frames
from videomae_train.data.options import LoaderOptions
from videomae_train.data.passed_by import PassedBy
from videomae_train.data.video_table import VideoNames
from videomae_train.data.watch import DecodingBoard
from videomae_train.data.worker_deaths import WorkerDeaths
from videomae_train.data.worker_signals import leave_stopping_to_the_parent
from videomae_train.errors import VideoMAETrainError
from videomae_train.types import Crops, EvaluationBatch, Fault, LabeledBatch, PretrainBatch, VideoFileBatch

_DYING_SEC = 2.0

Item = TypeVar("Item", covariant=True)
Batch = TypeVar("Batch", PretrainBatch, LabeledBatch, EvaluationBatch, VideoFileBatch)


def collate_pretrain(items: Sequence[PretrainItem]) -> PretrainBatch:
    """Join items to a micro-batch; all views of a video are next to each other."""
    return PretrainBatch(
        clips=_join_clips(items),
        visible_idx=torch.cat([item.visible for item in items]),
        hidden_idx=torch.cat([item.hidden for item in items]),
        unscored_idx=torch.cat([item.unscored for item in items]),
        sample_ids=_per_view([item.sample_id for item in items], items),
        faults=_join_faults(items),
        crops=_join_crops(items),
    )


def collate_labeled(items: Sequence[LabeledItem]) -> LabeledBatch:
    """Join items to a micro-batch; all views of a video are next to each other."""
    return LabeledBatch(
        clips=_join_clips(items),
        labels=_per_view([item.label for item in items], items),
        sample_ids=_per_view([item.sample_id for item in items], items),
        faults=_join_faults(items),
        erase_boxes=_join_erase_boxes(items),
        crops=_join_crops(items),
    )


def collate_evaluation(items: Sequence[EvaluationItem]) -> EvaluationBatch:
    """Join the videos that could be read; the others appear as faults only."""
    return EvaluationBatch(
        clips=torch.cat([item.clips for item in items]).permute(0, 1, 2, 5, 3, 4),
        labels=_per_view([item.label for item in items], items),
        sample_ids=_per_view([item.sample_id for item in items], items),
        faults=_join_faults(items),
    )


_AnyBatch = PretrainBatch | LabeledBatch | EvaluationBatch
_AnyItem = PretrainItem | LabeledItem | EvaluationItem


def _join_clips(items: Sequence[PretrainItem] | Sequence[LabeledItem]) -> Tensor:
    """Join (R, T, S, S, C) clips to (B, T, C, S, S), a view of (B, T, S, S, C) memory; whole frames alike."""
    return join_frames([item.clips for item in items]).permute(0, 1, 4, 2, 3)


def _join_crops(items: Sequence[PretrainItem] | Sequence[LabeledItem]) -> Crops | None:
    crops = [item.crops for item in items if item.crops is not None]
    if not crops:
        return None
    return Crops(torch.cat([each.boxes for each in crops]), torch.cat([each.flips for each in crops]))


def _join_erase_boxes(items: Sequence[LabeledItem]) -> Tensor | None:
    boxes = [item.erase_boxes for item in items if item.erase_boxes is not None]
    return torch.cat(boxes) if boxes else None


def _per_view(values: Sequence[int], items: Sequence[_AnyItem]) -> Tensor:
    """Repeat one value per item as often as it has views; int64."""
    return torch.tensor(values).repeat_interleave(torch.tensor([_num_views(item) for item in items]))


def _num_views(item: _AnyItem) -> int:
    # Views that share their frames are told apart by their boxes.
    shared = None if isinstance(item, EvaluationItem) else item.crops
    return len(item.clips) if shared is None else len(shared.boxes)


def _join_faults(items: Sequence[_AnyItem]) -> tuple[Fault, ...]:
    return tuple(fault for item in items for fault in item.faults)


class ItemDataset(Protocol[Item]):
    """A map-style data set over videos that have names."""

    @property
    def names(self) -> VideoNames:
        """Name its videos, for messages."""
        ...

    def __getitem__(self, place: int, /) -> Item:
        """Make one item."""
        ...


class _Batches(Dataset[Any]):
    """Makes whole batches of a data set's items.

    A worker's exception reaches the main process rebuilt from its text, which loses our errors' parts: they
    travel in the batch's place instead.
    """

    def __init__(self, dataset: ItemDataset[Item], collate: Callable[[Sequence[Item]], Batch]) -> None:
        self.dataset = dataset
        self.collate = collate

    def __getitem__(self, places: list[int]) -> _AnyBatch | VideoFileBatch | VideoMAETrainError:
        try:
            return self.collate([self.dataset[place] for place in places])
        except VideoMAETrainError as error:
            return error


class BatchLoader(DataLoader[Any]):
    """A torch DataLoader over batches whose workers may fail.

    It raises the errors that travelled in a batch's place, and explains the death of a worker.

    Args:
        batches: Makes whole batches, or a stream of them.
        deaths: Explains how workers ended.
        settings: Of the DataLoader.
    """

    def __init__(self, batches: Dataset[Any], deaths: WorkerDeaths, **settings: Any) -> None:
        super().__init__(batches, **settings)
        self._deaths = deaths

    def __iter__(self) -> Generator[Any]:  # type: ignore[override]  # a generator is all that is promised
        batches = self._start()
        workers = multiprocessing.active_children()
        try:
            for batch in batches:
                if isinstance(batch, VideoMAETrainError):
                    failure = batch
                    break
                # Pinning turns tuples into lists.
                yield batch._replace(faults=tuple(batch.faults))
            else:
                return
        except Exception as error:
            dead = _ended(workers, error)
            if not dead:
                raise
            failure = self._deaths.explain(dead)
        # Let the workers go now, and the error of torch with them: tracebacks would keep them until some garbage
        # collection, which waits for them.
        del batches
        self._iterator = None
        raise failure

    def _start(self) -> Iterator[Any]:
        # torch sets a handler that raises when a worker dies, wherever the main process happens to be: within a step,
        # or within the writing of a checkpoint. Without it the next batch finds out, at most five seconds later, and
        # is the one place where the error can be explained.
        before = signal.getsignal(signal.SIGCHLD)
        with _ready_to_fork() if self.num_workers else nullcontext():
            batches = super().__iter__()
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGCHLD, before)
        return batches


@contextmanager
def _ready_to_fork() -> Generator[None]:
    """Keep forked workers from this process's garbage, and this process from copying what it has freed.

    A decoder with threads that somebody has dropped in a cycle would be freed by a forked worker as well, which would
    wait for ever for threads that it does not have: what exists now is kept from collections. Nothing is collected
    here: that takes a quarter of a second where the libraries of a training process are loaded.

    Freed memory that the allocator holds would be copied page by page when it is used again, since the workers still
    share it: the first forward pass after a fork of a ViT-S took 130 ms more. Giving it back takes 5.
    """
    if _malloc_trim is not None:
        _malloc_trim(0)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


# Of glibc; other C libraries have no such call.
_malloc_trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)


def make_loader(
    dataset: ItemDataset[Item],
    collate: Callable[[Sequence[Item]], Batch],
    batches: Sampler[list[int]] | Iterable[list[int]],
    options: LoaderOptions,
    passed_by: PassedBy | None = None,
    *,
    keep_workers: bool = True,
) -> BatchLoader:
    """Load batches of a map-style data set.

    Args:
        dataset: Gives one item for a position.
        collate: Joins items to a batch.
        batches: The positions of each batch.
        options: Workers and memory.
        passed_by: Where a video is listed that ends a worker; None lists nothing.
        keep_workers: For another pass; else they end with the last batch.
    """
    num_workers = options.workers
    has_workers = num_workers > 0
    board = DecodingBoard(num_workers, options.decode_timeout_sec)
    return BatchLoader(
        _Batches(dataset, collate),
        WorkerDeaths(board, dataset.names, passed_by),
        sampler=batches,
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=num_workers,
        prefetch_factor=options.prefetch_batches if has_workers else None,
        persistent_workers=has_workers and keep_workers,
        pin_memory=options.pin_memory is True,  # auto: for those who know the device to decide
        worker_init_fn=partial(_begin_worker, board),
    )


def make_stream_loader(
    batches: IterableDataset[Any], videos: VideoNames, options: LoaderOptions
) -> BatchLoader:
    """Load whole batches that a stream makes, once; each worker has a copy of the stream.

    Args:
        batches: Gives batches with `faults`, or the errors that end the loading.
        videos: Names of the videos that workers may die of.
        options: Workers and memory.
    """
    num_workers = options.workers
    board = DecodingBoard(num_workers, options.decode_timeout_sec)
    return BatchLoader(
        batches,
        WorkerDeaths(board, videos, None),
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=num_workers,
        prefetch_factor=options.prefetch_batches if num_workers else None,
        pin_memory=options.pin_memory is True,
        worker_init_fn=partial(_begin_worker, board),
    )


def evaluation_loader(
    dataset: EvaluationDataset,
    options: LoaderOptions,
    *,
    batch_videos: int,
    passed_by: PassedBy | None = None,
) -> BatchLoader:
    """Load the videos of an evaluation in their order, each once; the last batch may be smaller."""
    batches = BatchSampler(SequentialSampler(dataset), batch_videos, drop_last=False)
    return make_loader(dataset, collate_evaluation, batches, options, passed_by)


def _ended(workers: Sequence[BaseProcess], error: Exception) -> list[BaseProcess]:
    """List the workers that have ended, after an error that may come of it."""
    if isinstance(error, OSError | EOFError):
        # Half a message of a worker that is dying just now: its files close before its end can be asked for.
        closed = wait([worker.sentinel for worker in workers], timeout=_DYING_SEC)
        for worker in workers:
            if worker.sentinel in closed:
                worker.join(_DYING_SEC)
    return [worker for worker in workers if worker.exitcode]


def _as_it_is(batch: Any) -> Any:
    return batch


def _begin_worker(board: DecodingBoard, worker: int) -> None:
    torch.set_num_threads(1)
    leave_stopping_to_the_parent()
    board.adopt(worker)
