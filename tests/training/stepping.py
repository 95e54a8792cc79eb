"""A small pretraining run on an endless random set, for tests of the loop."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, IterableDataset

from videomae_train.data.order import MicroBatchSampler
from videomae_train.masking import TubeMask, split_mask
from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining
from videomae_train.optim import OptimizerOptions
from videomae_train.randomness import keyed_rng
from videomae_train.training.checkpoints import SavingOptions, StepCheckpoint
from videomae_train.training.module import StepOptions, SteppingModule
from videomae_train.training.options import TrainerOptions
from videomae_train.training.plan import Budget, StepPlan, plan_steps
from videomae_train.training.tasks import ReconstructionTask
from videomae_train.training.trainer import build_strategy
from videomae_train.training.updating import UpdateOptions
from videomae_train.types import Fault, PretrainBatch

CONFIG = VideoMAEConfig(
    image_size=16, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=48, decoder_hidden_size=12, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
    decoder_intermediate_size=24,
)  # fmt: skip

PLAIN = UpdateOptions(precision="fp32", clip_grad_norm=None, ema_decay=None)
ADAMW = OptimizerOptions("adamw", (0.9, 0.95), 1e-8, 0.05, 1.0)


def make_batch(first: int, size: int, faults: tuple[Fault, ...] = ()) -> PretrainBatch:
    """Videos `first` .. `first + size - 1` of an endless random set."""
    clips, visible, hidden = [], [], []
    for number in range(first, first + size):
        rng = keyed_rng("clip", number)
        clips.append(torch.from_numpy(rng.integers(0, 256, (4, 3, 16, 16), dtype="uint8")))
        split = split_mask(TubeMask(0.5)(CONFIG.grid, rng))
        visible.append(torch.from_numpy(split[0]))
        hidden.append(torch.from_numpy(split[1]))
    ids = torch.arange(first, first + size)
    none = torch.empty(size, 0, dtype=torch.int64)
    return PretrainBatch(torch.stack(clips), torch.stack(visible), torch.stack(hidden), none, ids, faults)


class Batches(IterableDataset[PretrainBatch]):
    def __init__(self, first: int, size: int, faults: tuple[Fault, ...] = ()) -> None:
        self.first, self.size, self.faults = first, size, faults

    def __iter__(self) -> Iterator[PretrainBatch]:
        number = self.first
        while True:
            yield make_batch(number, self.size, self.faults)
            number += self.size


class Poisoned:
    """A task whose loss, and with it every gradient, is of a chosen badness for chosen videos."""

    def __init__(self, task: ReconstructionTask, videos: Collection[int], factor: float) -> None:
        self.model, self._task, self._videos, self._factor = task.model, task, videos, factor

    def loss(self, batch: PretrainBatch) -> torch.Tensor:
        bad = any(int(number) in self._videos for number in batch.sample_ids)
        return self._task.loss(batch) * (self._factor if bad else 1.0)


class RankBatches(IterableDataset[PretrainBatch]):
    """The share of the rank that reads it."""

    def __init__(self, micro_batch: int, first: int = 0, global_batch: int = 4) -> None:
        self._micro_batch, self._first, self._global_batch = micro_batch, first, global_batch

    def __iter__(self) -> Iterator[PretrainBatch]:
        spread = torch.distributed.is_initialized()
        rank, world = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if spread else (0, 1)
        sampler = MicroBatchSampler(
            self._first,
            global_batch=self._global_batch,
            micro_batch=self._micro_batch,
            rank=rank,
            world=world,
        )
        return (make_batch(positions[0], len(positions)) for positions in sampler)


def make_plan(micro_batch: int, total: int, world_size: int = 1, global_batch: int = 4) -> StepPlan:
    return plan_steps(
        Budget(None, total, None, 1), num_videos=100, global_batch=global_batch, micro_batch=micro_batch,
        world_size=world_size, base_lr=0.1, min_lr=0.0,
    )  # fmt: skip


def make_module(
    micro_batch: int,
    *,
    total: int = 4,
    max_fault_ratio: float = 0.0,
    max_nonfinite_steps: int = 2,
    log_every_steps: int = 1,
    update: UpdateOptions = PLAIN,
    optimizer: OptimizerOptions = ADAMW,
    dtype: torch.dtype = torch.float64,
    poisoned: Collection[int] = (),
    factor: float = float("nan"),
    world_size: int = 1,
    global_batch: int = 4,
) -> SteppingModule:
    torch.manual_seed(0)
    task = ReconstructionTask(VideoMAEForPreTraining(CONFIG).to(dtype))
    return SteppingModule(
        Poisoned(task, poisoned, factor) if poisoned else task,
        make_plan(micro_batch, total, world_size, global_batch),
        optimizer,
        StepOptions(
            seed=0,
            update=update,
            log_every_steps=log_every_steps,
            max_fault_ratio=max_fault_ratio,
            max_nonfinite_steps=max_nonfinite_steps,
        ),
        on_step=lambda videos: None,
    )


def machine(devices: int) -> TrainerOptions:
    return TrainerOptions(
        accelerator="cpu", devices=devices, num_nodes=1, precision="fp32", float32_matmul="highest", micro_batch=1,
        activation_checkpointing=False, compile=False, max_nonfinite_steps=2, threads=1, log_every_steps=1,
        checkpoint_every_steps=100, checkpoint_every_minutes=None, keep_checkpoints=2, ledger="hash",
        profile_steps=None, rank_timeout_sec=60.0,
    )  # fmt: skip


def fit(
    module: SteppingModule,
    dataset: IterableDataset[PretrainBatch],
    run: Path,
    *,
    until: int,
    ckpt: Path | None = None,
    every: int = 100,
    also: Sequence[pl.Callback] = (),
) -> None:
    saving = StepCheckpoint(run, SavingOptions(every, None, 2))
    ranks = module.plan.world_size
    trainer = pl.Trainer(
        accelerator="cpu", devices=ranks, strategy=build_strategy(machine(ranks), "fork"),
        max_steps=until, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=run, callbacks=[saving, *also], plugins=[saving.files],
    )  # fmt: skip
    trainer.fit(module, DataLoader(dataset, batch_size=None), ckpt_path=ckpt)
