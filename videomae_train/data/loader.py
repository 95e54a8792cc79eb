"""Loaders: items to batches, in worker processes, with errors that arrive as they were raised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, SequentialSampler

from videomae_train.data.datasets import EvaluationDataset, EvaluationItem, LabeledItem, PretrainItem
from videomae_train.data.options import LoaderOptions
from videomae_train.errors import VideoMAETrainError
from videomae_train.types import EvaluationBatch, Fault, LabeledBatch, PretrainBatch

Item = TypeVar("Item")
Batch = TypeVar("Batch", PretrainBatch, LabeledBatch, EvaluationBatch)


def collate_pretrain(items: Sequence[PretrainItem]) -> PretrainBatch:
    """Join items to a micro-batch; all views of a video are next to each other."""
    return PretrainBatch(
        clips=_join_clips(items),
        visible_idx=torch.cat([item.visible for item in items]),
        hidden_idx=torch.cat([item.hidden for item in items]),
        sample_ids=_per_view([item.sample_id for item in items], items),
        faults=_join_faults(items),
    )


def collate_labeled(items: Sequence[LabeledItem]) -> LabeledBatch:
    """Join items to a micro-batch; all views of a video are next to each other."""
    return LabeledBatch(
        clips=_join_clips(items),
        labels=_per_view([item.label for item in items], items),
        sample_ids=_per_view([item.sample_id for item in items], items),
        faults=_join_faults(items),
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
    """Join (R, T, S, S, C) clips to (B, T, C, S, S), a view of (B, T, S, S, C) memory."""
    return torch.cat([item.clips for item in items]).permute(0, 1, 4, 2, 3)


def _per_view(values: Sequence[int], items: Sequence[_AnyItem]) -> Tensor:
    """Repeat one value per item as often as its clips have rows; int64."""
    return torch.tensor(values).repeat_interleave(torch.tensor([len(item.clips) for item in items]))


def _join_faults(items: Sequence[_AnyItem]) -> tuple[Fault, ...]:
    return tuple(fault for item in items for fault in item.faults)


class _Batches(Dataset[Any]):
    """Makes whole batches of a data set's items.

    A worker's exception reaches the main process rebuilt from its text, which loses our errors' parts: they
    travel in the batch's place instead.
    """

    def __init__(self, dataset: Dataset[Item], collate: Callable[[Sequence[Item]], Batch]) -> None:
        self.dataset = dataset
        self.collate = collate

    def __getitem__(self, places: list[int]) -> _AnyBatch | VideoMAETrainError:
        try:
            return self.collate([self.dataset[place] for place in places])
        except VideoMAETrainError as error:
            return error


class BatchLoader(DataLoader[Any]):
    """A torch DataLoader over batches that raises the errors which travelled in a batch's place."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # a generator is all that is promised
        for batch in super().__iter__():
            if isinstance(batch, VideoMAETrainError):
                error = batch
                break
            # Pinning turns tuples into lists.
            yield batch._replace(faults=tuple(batch.faults))
        else:
            return
        # Let the workers go now; the traceback would keep them until some garbage collection, which waits
        # for them.
        self._iterator = None
        raise error


def make_loader(
    dataset: Dataset[Item],
    collate: Callable[[Sequence[Item]], Batch],
    batches: Sampler[list[int]] | Iterable[list[int]],
    options: LoaderOptions,
) -> BatchLoader:
    """Load batches of a map-style data set.

    Args:
        dataset: Gives one item for a position.
        collate: Joins items to a batch.
        batches: The positions of each batch.
        options: Workers and memory.
    """
    has_workers = options.num_workers > 0
    return BatchLoader(
        _Batches(dataset, collate),
        sampler=batches,
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=options.num_workers,
        prefetch_factor=options.prefetch_batches if has_workers else None,
        persistent_workers=has_workers,
        pin_memory=options.pin_memory,
        worker_init_fn=_use_one_thread,
    )


def evaluation_loader(
    dataset: EvaluationDataset, options: LoaderOptions, *, batch_videos: int
) -> BatchLoader:
    """Load the videos of an evaluation in their order, each once; the last batch may be smaller."""
    batches = BatchSampler(SequentialSampler(dataset), batch_videos, drop_last=False)
    return make_loader(dataset, collate_evaluation, batches, options)


def _as_it_is(batch: Any) -> Any:
    return batch


def _use_one_thread(_worker: int) -> None:
    torch.set_num_threads(1)
