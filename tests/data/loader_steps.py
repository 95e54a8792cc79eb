"""Steps of batches as ranks would take them, without a trainer, for tests."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import torch
from small_options import GRID, decode_all, hide_most, loader_options, pretrain_options

from videomae_train.data.datamodule import PretrainDataModule
from videomae_train.data.passed_by import PassedBy
from videomae_train.types import PretrainBatch


class Ranks:
    """Stands for the trainer: all that the data modules ask it is who they are."""

    def __init__(self, global_rank: int, world_size: int) -> None:
        self.global_rank, self.world_size = global_rank, world_size


def pretrain_module(
    folder: Path | None,
    *,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    micro_batch: int = 1,
    seed: int = 0,
    decode_timeout_sec: float = 60.0,
    passed_by: PassedBy | None = None,
    **changes: Any,
) -> PretrainDataModule:
    module = PretrainDataModule(
        pretrain_options(folder, **changes),
        loader_options(workers, decode_timeout_sec),
        mask_sampler=hide_most,
        decode_sampler=decode_all,
        grid=GRID,
        seed=seed,
        global_batch=6,
        micro_batch=micro_batch,
        passed_by=passed_by,
    )
    module.trainer = Ranks(rank, world)  # type: ignore[assignment]
    return module


def take_steps(module: PretrainDataModule, num_steps: int) -> list[PretrainBatch]:
    """Join the micro-batches of each step of one rank, advancing the state as a training loop does."""
    loader = iter(module.train_dataloader())
    num_micro = 6 // (module.trainer.world_size * module.stream.micro_batch)
    steps = []
    for _ in range(num_steps):
        steps.append(join(list(islice(loader, num_micro))))
        module.advance(6)
    return steps


def join(batches: list[PretrainBatch]) -> PretrainBatch:
    tensors = [torch.cat(parts) for parts in list(zip(*batches, strict=True))[:5]]
    return PretrainBatch(*tensors, tuple(fault for batch in batches for fault in batch.faults))


def assert_same(one: PretrainBatch, two: PretrainBatch) -> None:
    for a, b in zip(one[:5], two[:5], strict=True):
        assert torch.equal(a, b)
    assert one.faults == two.faults
