"""The search for a micro-batch on the run's devices, where a configuration asks for it."""

from __future__ import annotations

import pytorch_lightning as pl
import torch

from videomae_train.config.schema import FinetuneConfig, PretrainConfig
from videomae_train.config.steps import sizes_to_try
from videomae_train.data.datamodule import FinetuneDataModule, PretrainDataModule
from videomae_train.model import VideoMAEForPreTraining, VideoMAEForVideoClassification
from videomae_train.training.batch_search import MemoryProbe, MicroBatchSearch
from videomae_train.training.module import SteppingModule
from videomae_train.training.tasks import ClassificationTask, ReconstructionTask, Task
from videomae_train.types import LabeledBatch, PretrainBatch


def micro_batch_search(
    config: PretrainConfig | FinetuneConfig,
    module: SteppingModule,
    data: PretrainDataModule | FinetuneDataModule,
) -> list[pl.Callback]:
    """Make the search for the micro-batch, where it is asked for."""
    if config.trainer.micro_batch != "auto":
        return []

    def use(size: int) -> None:
        module.use_micro_batch(size)
        data.stream.micro_batch = size

    probe = MemoryProbe(
        make_task=lambda: _task_to_try(config),
        make_batch=lambda size, device: _batch_to_try(config, size, device),
        optimizer=config.optim.options,
        update=config.update,
    )
    return [MicroBatchSearch(sizes_to_try(config), probe.fits, use)]


def _task_to_try(config: PretrainConfig | FinetuneConfig) -> Task:
    # Not compiled: that would take minutes for each size, and needs less memory, not more.
    if isinstance(config, PretrainConfig):
        model = VideoMAEForPreTraining(config.model)
        model.set_grad_checkpointing(config.trainer.activation_checkpointing)
        return ReconstructionTask(model)
    wanted = config.architecture({0: "a", 1: "b"})
    classifier = VideoMAEForVideoClassification(wanted)
    classifier.encoder.freeze(config.frozen_blocks)
    classifier.set_grad_checkpointing(config.trainer.activation_checkpointing)
    return ClassificationTask(classifier, config.mix, wanted.num_labels)


def _batch_to_try(
    config: PretrainConfig | FinetuneConfig, num_videos: int, device: torch.device
) -> PretrainBatch | LabeledBatch:
    model = config.model if isinstance(config, PretrainConfig) else config.source
    num_clips = num_videos * config.data.views
    shape = (num_clips, model.num_frames, *model.frame_size, model.num_channels)
    clips = torch.zeros(shape, dtype=_format_of_clips(config), device=device).permute(0, 1, 4, 2, 3)
    numbers = torch.zeros(num_clips, dtype=torch.int64, device=device)
    if isinstance(config, FinetuneConfig):
        erases = config.data.erase_probability > 0
        boxes = torch.zeros(num_clips, 4, dtype=torch.int64, device=device) if erases else None
        return LabeledBatch(clips, numbers, numbers, (), boxes)
    visible, hidden, unscored = (
        torch.from_numpy(part).to(device).repeat(num_clips, 1) for part in config.masking.example(model.grid)
    )
    return PretrainBatch(clips, visible, hidden, unscored, numbers, ())


def _format_of_clips(config: PretrainConfig | FinetuneConfig) -> torch.dtype:
    exact = isinstance(config, FinetuneConfig) and config.data.crop_resampling == "float_no_antialias"
    return torch.float32 if exact else torch.uint8
