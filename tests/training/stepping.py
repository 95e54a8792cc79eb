"""A small pretraining run on an endless random set, for tests of the loop."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, IterableDataset

from videomae_train.masking import TubeMask, split_mask
from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining
from videomae_train.optim import OptimizerOptions
from videomae_train.randomness import keyed_rng
from videomae_train.training.checkpoints import StepCheckpoint
from videomae_train.training.module import StepOptions, SteppingModule
from videomae_train.training.plan import Budget, StepPlan, plan_steps
from videomae_train.training.tasks import ReconstructionTask
from videomae_train.types import Fault, PretrainBatch

CONFIG = VideoMAEConfig(
    image_size=16, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=48, decoder_hidden_size=12, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
    decoder_intermediate_size=24,
)  # fmt: skip


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


def make_plan(micro_batch: int, total: int) -> StepPlan:
    return plan_steps(
        Budget(None, total, None, 1), num_videos=100, global_batch=4, micro_batch=micro_batch, world_size=1,
        base_lr=0.1, min_lr=0.0,
    )  # fmt: skip


def make_module(micro_batch: int, *, total: int = 4, max_fault_ratio: float = 0.0) -> SteppingModule:
    torch.manual_seed(0)
    return SteppingModule(
        ReconstructionTask(VideoMAEForPreTraining(CONFIG).double()),
        make_plan(micro_batch, total),
        OptimizerOptions("adamw", (0.9, 0.95), 1e-8, 0.05, 1.0),
        StepOptions(seed=0, clip_grad_norm=None, log_every_steps=1, max_fault_ratio=max_fault_ratio),
        on_step=lambda videos: None,
    )


def fit(
    module: SteppingModule,
    dataset: Batches,
    run: Path,
    *,
    until: int,
    ckpt: Path | None = None,
    every: int = 100,
    also: Sequence[pl.Callback] = (),
) -> None:
    saving = StepCheckpoint(run, every_steps=every, keep=2)
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=until, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=run, callbacks=[saving, *also],
    )  # fmt: skip
    trainer.fit(module, DataLoader(dataset, batch_size=None), ckpt_path=ckpt)
