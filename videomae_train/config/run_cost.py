"""What a training configuration costs on this machine: its model, batch and precision, counted as in `estimates`."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videomae_train.config.estimates import (
    UTILISATION,
    Device,
    Disk,
    Memory,
    PassCost,
    count_pass,
    disk_of_run,
    measure_device,
    memory_of_rank,
    state_values_per_weight,
)
from videomae_train.config.schema import FinetuneConfig, PretrainConfig
from videomae_train.evaluation.number_format import FORMATS
from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification
from videomae_train.training.plan import StepPlan

Config = PretrainConfig | FinetuneConfig


@dataclass(frozen=True)
class Cost:
    """What the run would cost on this machine, as `estimates` counts it.

    Attributes:
        counted: One pass over a rank's micro-batch.
        flops_per_step: Of all ranks.
        memory: Of one rank.
        disk: Of the run.
        device: This machine's; None where the run asks for a GPU and there is none.
        step_sec: Seconds of an optimizer step on such devices, one for each rank; None without a device.
    """

    counted: PassCost
    flops_per_step: int
    memory: Memory
    disk: Disk
    device: Device | None
    step_sec: float | None


def architecture_of(config: Config) -> VideoMAEConfig:
    """Give the architecture that is trained, for fine-tuning without its head."""
    return config.model if isinstance(config, PretrainConfig) else config.source


class TokenCounts(NamedTuple):
    """A clip's tokens.

    Attributes:
        total: All of them.
        visible: Those that the encoder sees.
        scored: Those that the decoder reconstructs for the loss; 0 in fine-tuning.
        unscored: Visible ones that the decoder takes as well, without a loss.
    """

    total: int
    visible: int
    scored: int
    unscored: int


def token_counts(config: Config) -> TokenCounts:
    """Count the tokens of every clip of a run."""
    grid = architecture_of(config).grid
    if isinstance(config, FinetuneConfig):
        return TokenCounts(grid.num_tokens, grid.num_tokens, 0, 0)
    return TokenCounts(grid.num_tokens, *map(len, config.masking.example(grid)))


def estimate_cost(config: Config, plan: StepPlan, num_classes: int) -> Cost:
    """Count and measure what a run would cost on this machine.

    Args:
        config: The run.
        plan: Its batch arithmetic; where the micro-batch is searched for, of the smallest, which is counted here.
        num_classes: Of a classifier's head; ignored for pretraining.
    """
    views = plan.micro_batch * config.data.views
    counted = count_pass(
        *_model_and_loss(config, views, num_classes),
        compute=FORMATS[config.trainer.precision],
        on_gpu=_takes_gpu(config),
    )
    state = state_values_per_weight(config.optim.options)
    averaged = config.optim.ema_decay is not None
    flops = counted.flops * plan.accumulation * plan.world_size
    device = _device(config)
    return Cost(
        counted,
        flops,
        memory_of_rank(
            counted, state_per_weight=state, averaged=averaged, clip_bytes=views * _clip_bytes(config)
        ),
        disk_of_run(
            counted,
            state_per_weight=state,
            averaged=averaged,
            keep=config.trainer.keep_checkpoints,
            best=isinstance(config, FinetuneConfig) and config.data.val_selection is not None,
        ),
        device,
        None if device is None else _seconds(flops, device, config),
    )


def _clip_bytes(config: Config) -> int:
    architecture = architecture_of(config)
    height, width = architecture.frame_size
    exact = isinstance(config, FinetuneConfig) and config.data.crop_resampling == "float_no_antialias"
    return architecture.num_frames * architecture.num_channels * height * width * (4 if exact else 1)


def _model_and_loss(
    config: Config, views: int, num_classes: int
) -> tuple[Callable[[], nn.Module], Callable[[Any], Tensor]]:
    """Give what `count_pass` takes: the run's model, and its loss on one micro-batch of nothing."""
    architecture = architecture_of(config)
    shape = (views, architecture.num_frames, architecture.num_channels, *architecture.frame_size)
    if isinstance(config, PretrainConfig):
        _, *counts = token_counts(config)

        def reconstruction(model: VideoMAEForPreTraining) -> Tensor:
            places = [torch.zeros(views, count, dtype=torch.int64) for count in counts]
            return model.training_loss(torch.zeros(shape, dtype=torch.uint8), *places)

        def pretrained() -> VideoMAEForPreTraining:
            model = VideoMAEForPreTraining(architecture)
            model.set_grad_checkpointing(config.trainer.activation_checkpointing)
            return model

        return pretrained, reconstruction
    wanted = config.architecture({number: str(number) for number in range(num_classes)})

    def classification(model: VideoMAEForVideoClassification) -> Tensor:
        # Mixing makes floats of the clips; without it they are bytes, which changes hardly anything.
        logits = model.train()(torch.zeros(shape)).logits
        return F.cross_entropy(logits.float(), torch.zeros(views, num_classes))

    def classifier() -> VideoMAEForVideoClassification:
        model = VideoMAEForVideoClassification(wanted)
        model.encoder.freeze(config.frozen_blocks)
        model.set_grad_checkpointing(config.trainer.activation_checkpointing)
        return model

    return classifier, classification


def _takes_gpu(config: Config) -> bool:
    accelerator = config.trainer.accelerator
    return accelerator == "gpu" or (accelerator != "cpu" and torch.cuda.is_available())


def _device(config: Config) -> Device | None:
    if _takes_gpu(config):
        if not torch.cuda.is_available():
            return None
        memory = torch.cuda.get_device_properties(0).total_memory
        with _matmul_precision(config.trainer.float32_matmul):
            return measure_device("cuda", precision=config.trainer.precision, memory_bytes=memory)
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return measure_device("cpu", precision=config.trainer.precision, memory_bytes=memory)


@contextmanager
def _matmul_precision(name: str) -> Generator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _seconds(flops: int, device: Device, config: Config) -> float:
    # Ranks on one CPU share it, ranks on GPUs have one each.
    devices = 1 if device.name.startswith("CPU") else config.trainer.world_size
    return flops / (devices * device.matmul_flops_per_sec * UTILISATION)
