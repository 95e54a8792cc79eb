"""Compare the training loop with a bare one: forward, backward, clip, fused AdamW on the same clips, and nothing else.

Both take the same number of optimizer steps on one micro-batch that lies in memory, in turns, so that a noisy machine
disturbs both alike. Printed: milliseconds a step of each round's pair, and the ratio; on a CPU they are the process's
own time, so that other processes disturb little.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, IterableDataset

from videomae_train.masking import TubeMask, split_mask
from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining
from videomae_train.optim import OptimizerOptions, build_optimizer
from videomae_train.training.module import StepOptions, SteppingModule
from videomae_train.training.plan import Budget, plan_steps
from videomae_train.training.tasks import ReconstructionTask
from videomae_train.training.updating import UpdateOptions
from videomae_train.types import PretrainBatch

TINY = VideoMAEConfig(
    image_size=64, patch_size=8, num_frames=8, hidden_size=192, num_hidden_layers=4, num_attention_heads=3,
    intermediate_size=768, decoder_hidden_size=96, decoder_num_hidden_layers=2, decoder_num_attention_heads=3,
    decoder_intermediate_size=384,
)  # fmt: skip
ADAMW = OptimizerOptions("adamw", (0.9, 0.95), 1e-8, 0.05, 1.0)
CLIP = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ema-decay", type=float, default=None)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch = make_batch(options.batch)
    bare_loop(batch, 3, device)
    pairs = np.array(
        [
            (
                bare_loop(batch, options.steps, device),
                own_loop(batch, options.steps, device, options.ema_decay),
            )
            for _ in range(options.rounds)
        ]
    )
    for bare, ours in pairs * 1000:
        print(f"bare {bare:8.2f} ms a step   videomae-train {ours:8.2f} ms   ratio {ours / bare:.3f}")
    low, middle, high = np.percentile(pairs[:, 1] / pairs[:, 0], [25, 50, 75])
    print(f"ratio {middle:.3f} ({low:.3f} to {high:.3f}) on {device.type}, {torch.get_num_threads()} threads")


def make_batch(size: int) -> PretrainBatch:
    rng = np.random.default_rng(0)
    height, width = TINY.frame_size
    frames = rng.integers(0, 256, (size, TINY.num_frames, height, width, 3), dtype=np.uint8)
    splits = [split_mask(TubeMask(0.9)(TINY.grid, rng)) for _ in range(size)]
    visible, hidden = (torch.from_numpy(np.stack(part)) for part in zip(*splits, strict=True))
    return PretrainBatch(
        torch.from_numpy(frames).permute(0, 1, 4, 2, 3),
        visible,
        hidden,
        hidden[:, :0],
        torch.arange(size),
        (),
    )


def bare_loop(batch: PretrainBatch, steps: int, device: torch.device) -> float:
    torch.manual_seed(0)
    model = VideoMAEForPreTraining(TINY).to(device)
    optimizer = build_optimizer(model, model.no_weight_decay(), ADAMW, peak_lr=1e-4)
    clips, visible, hidden = (part.to(device) for part in batch[:3])
    for step in range(steps + 1):
        if step == 1:  # the first step allocates
            began = _now(device)
        model.training_loss(clips, visible, hidden).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return (_now(device) - began) / steps  # pyright: ignore[reportPossiblyUnboundVariable]


def own_loop(batch: PretrainBatch, steps: int, device: torch.device, ema_decay: float | None) -> float:
    torch.manual_seed(0)
    size = len(batch.clips)
    plan = plan_steps(
        Budget(None, steps + 1, None, 1), num_videos=size, global_batch=size, micro_batch=size, world_size=1,
        base_lr=1e-4, min_lr=0.0,
    )  # fmt: skip
    update = UpdateOptions("fp32", CLIP, ema_decay)
    options = StepOptions(0, update, log_every_steps=20, max_fault_ratio=0.0, max_nonfinite_steps=20)
    task = ReconstructionTask(VideoMAEForPreTraining(TINY))
    module = SteppingModule(task, plan, ADAMW, options, on_step=lambda videos: None)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        pl.Trainer(
            accelerator="auto", devices=1, max_steps=steps + 1, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder, callbacks=[clock],
        ).fit(module, DataLoader(Repeated(batch), batch_size=None))  # fmt: skip
    return clock.seconds / steps


class Repeated(IterableDataset[PretrainBatch]):
    def __init__(self, batch: PretrainBatch) -> None:
        self._batch = batch

    def __iter__(self) -> Iterator[PretrainBatch]:
        while True:
            yield self._batch


class Clock(pl.Callback):
    """Times everything after the first step, Lightning's own work between the steps included."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == 1:
            self._began = _now(pl_module.device)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds = _now(pl_module.device) - self._began


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()  # what other processes take does not count


if __name__ == "__main__":
    main()
