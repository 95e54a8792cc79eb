"""The videos of a training run and their order, opened and checked before anything is decoded."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from videomae_train.data.datasets import check_pace
from videomae_train.data.index import PackedDataset, Selection
from videomae_train.data.joined import open_selection
from videomae_train.data.options import FinetuneDataOptions, LoaderOptions, PretrainDataOptions
from videomae_train.data.stream import TrainingStream
from videomae_train.errors import ConfigError


class PretrainVideos(NamedTuple):
    """Those of a pretraining."""

    selection: Selection
    stream: TrainingStream


class FinetuneVideos(NamedTuple):
    """Those of a fine-tuning, with the names of its classes; no `val_selection` where it does not validate."""

    selection: Selection
    stream: TrainingStream
    val_selection: Selection | None
    classes: tuple[str, ...]


def open_pretrain_videos(
    options: PretrainDataOptions, loader: LoaderOptions, *, seed: int, global_batch: int, micro_batch: int
) -> PretrainVideos:
    """Open the videos of a pretraining.

    Args:
        options: Videos and clips.
        loader: How they are stored.
        seed: The run's seed.
        global_batch: Videos per step on all ranks.
        micro_batch: Videos per micro-batch on one rank.

    Raises:
        ConfigError: The data set is not there, or options do not fit it or each other.
        ShardError: The data set is not whole.
    """
    selection = open_selection(options.members, loader.storage)
    stream = TrainingStream(
        selection,
        seed=seed,
        window_videos=options.shuffle_window_videos,
        global_batch=global_batch,
        micro_batch=micro_batch,
    )
    check_pace(selection, options)
    return PretrainVideos(selection, stream)


def open_finetune_videos(
    options: FinetuneDataOptions, loader: LoaderOptions, *, seed: int, global_batch: int, micro_batch: int
) -> FinetuneVideos:
    """Open the videos of a fine-tuning; arguments as for `open_pretrain_videos`.

    Raises:
        ConfigError: The data set is not there, unlabelled, its training videos are of one class, or options do not fit
            it or each other.
        ShardError: The data set is not whole.
    """
    packed = PackedDataset.open(options.path, loader.storage)
    selection = packed.select(options.selection, per_class=options.per_class, seed=options.per_class_seed)
    val_selection = None if options.val_selection is None else packed.select(options.val_selection)
    stream = TrainingStream(
        selection,
        seed=seed,
        window_videos=options.shuffle_window_videos,
        global_batch=global_batch,
        micro_batch=micro_batch,
    )
    selection.check_labelled()
    check_pace(selection, options)
    _refuse_one_class(selection, packed)
    return FinetuneVideos(selection, stream, val_selection, packed.classes)


def _refuse_one_class(selection: Selection, packed: PackedDataset) -> None:
    """Refuse training videos of one class, on which every classifier soon has a loss of 0."""
    labels = np.unique(selection.labels)
    if len(labels) > 1:
        return
    raise ConfigError(
        where="data.selection",
        came=f"{selection.name!r} of {packed.title}: {len(selection)} videos, all of class"
        f" {packed.classes[int(labels[0])]!r}",
        expected="videos of two classes at least, to tell them apart",
        todo="Choose a selection with more of the set's classes."
        if len(packed.classes) > 1
        else "Pack a set of more classes, such as a folder with a folder for each.",
    )
