"""The videos that a training configuration asks for, without anything that trains."""

from __future__ import annotations

from videomae_train.config.schema import FinetuneConfig, PretrainConfig
from videomae_train.config.steps import initial_micro_batch
from videomae_train.data.training_videos import (
    FinetuneVideos,
    PretrainVideos,
    open_finetune_videos,
    open_pretrain_videos,
)


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
