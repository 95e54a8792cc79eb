"""The videos that a training configuration asks for, without anything that trains."""

from __future__ import annotations

import numpy as np

from videomae_train.config.schema import FinetuneConfig, PretrainConfig
from videomae_train.config.steps import initial_micro_batch
from videomae_train.data.index import Selection
from videomae_train.data.training_videos import (
    FinetuneVideos,
    PretrainVideos,
    open_finetune_videos,
    open_pretrain_videos,
)
from videomae_train.errors import ConfigError


def pretrain_videos(config: PretrainConfig) -> PretrainVideos:
    """Open the videos of a pretraining, with every check that the run makes before its first batch.

    Raises:
        ConfigError: The run would refuse the request.
        ShardError: The data set is not whole.
    """
    config.masking.counts(config.model.grid)
    return open_pretrain_videos(
        config.data, config.loader,
        seed=config.seed, global_batch=config.optim.global_batch, micro_batch=initial_micro_batch(config),
    )  # fmt: skip


def finetune_videos(config: FinetuneConfig) -> FinetuneVideos:
    """Open the videos of a fine-tuning likewise; raises as `pretrain_videos`."""
    return open_finetune_videos(
        config.data, config.loader,
        seed=config.seed, global_batch=config.optim.global_batch, micro_batch=initial_micro_batch(config),
    )  # fmt: skip


def check_apart(config: FinetuneConfig, selection: Selection, val_selection: Selection) -> None:
    """Compare the videos to train on with those to validate on.

    Raises:
        ConfigError: Some are both.
    """
    shared = np.intersect1d(selection.sample_ids, val_selection.sample_ids)
    if len(shared):
        raise ConfigError(
            where="data.val_selection",
            came=f"{config.data.val_selection}: {len(shared)} of its {len(val_selection)} videos are in"
            f" data.selection={config.data.selection} too, such as {selection.dataset.key(int(shared[0]))}",
            expected="videos that are not trained on",
            todo="Name the part that belongs to data.selection's split, or data.val_selection=null for none.",
        )
