"""Pretraining measured as it runs: its loader, its step, its loop, alone and together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, IterableDataset

from videomae_train.optim import OptimizerOptions, build_optimizer
from videomae_train.training.module import SteppingModule
from videomae_train.training.precision import Precision
from videomae_train.training.tasks import ReconstructionTask
from videomae_train.training.updating import UpdateOptions
from videomae_train.types import PretrainBatch

_WARM_UP_STEPS = 1
# Steps on a GPU are timed ten at a time, since each reading waits for it.
_STEPS_A_READING = {"cpu": 1, "cuda": 10}


class Clock(pl.Callback):
    """Times the steps of a fit past the first, and ends the fit.

    Attributes:
        num_steps: Steps that were timed.
        seconds: That they took, with everything that happens between them.
        waited: Of these, seconds from the end of one micro-batch to the start of the next.
        steps_done: All steps of the fit, the first too.
        ended_at: When the last step had ended, by `time.perf_counter`.
    """

    def __init__(self, seconds: float) -> None:
        self._limit = seconds
        self.num_steps, self.seconds, self.waited, self.steps_done = 0, 0.0, 0.0, 0
        self.ended_at = self._began = self._idle_since = 0.0
        self._waited = 0.0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Count the time since the last micro-batch as waiting."""
        self._waited += time.perf_counter() - self._idle_since

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Read the clock at the end of a step."""
        assert isinstance(pl_module, SteppingModule)
        self._idle_since = time.perf_counter()
        if not pl_module.at_step_boundary:
            return
        self.steps_done += 1
        past = self.steps_done - _WARM_UP_STEPS
        if past < 0 or past % _STEPS_A_READING[pl_module.device.type]:
            return
        wait_for(pl_module.device)
        now = self.ended_at = self._idle_since = time.perf_counter()
        if past == 0:
            self._began, self._waited = now, 0.0
            return
        self.num_steps, self.seconds, self.waited = past, now - self._began, self._waited
        trainer.should_stop = self.seconds >= self._limit

    @property
    def step_sec(self) -> float:
        """Mean seconds of a step."""
        return self.seconds / self.num_steps


class HeldBatch(pl.LightningDataModule):
    """Gives one micro-batch again and again, from where it lies."""

    def __init__(self, batch: PretrainBatch) -> None:
        super().__init__()
        self._batch = batch

    def train_dataloader(self) -> DataLoader[PretrainBatch]:
        """Give it without end."""
        return DataLoader(_Repeated(self._batch), batch_size=None)


class _Repeated(IterableDataset[PretrainBatch]):
    def __init__(self, batch: PretrainBatch) -> None:
        self._batch = batch

    def __iter__(self) -> Iterator[PretrainBatch]:
        while True:
            yield self._batch


def loader_seconds(batches: Iterator[object], num_workers: int, seconds: float) -> float:
    """Take micro-batches as fast as they come, and give the mean seconds of one.

    Args:
        batches: A loader's iterator, fresh.
        num_workers: Of the loader; each delivers its first batch before anything is timed.
        seconds: How long, at the least one batch of each worker.
    """
    burst = max(num_workers, 1)
    for _ in range(burst):
        next(batches)
    began, taken = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds or taken == 0:
        for _ in range(burst):  # workers deliver in turn: whole turns only
            next(batches)
        taken += burst
    return passed / taken


def bare_step(
    task: ReconstructionTask,
    optimizer: OptimizerOptions,
    update: UpdateOptions,
    batch: PretrainBatch,
) -> Callable[[], None]:
    """Build the step that anybody would write: loss, gradients, clipping, optimiser, and nothing else.

    Args:
        task: Model and loss, on the batch's device.
        optimizer: The run's.
        update: The run's precision and clipping.
        batch: One micro-batch.
    """
    model = task.model.train()
    stepper = build_optimizer(model, model.no_weight_decay(), optimizer, peak_lr=1e-5)
    precision = Precision(update.precision, batch.clips.device)

    def step() -> None:
        with precision.autocast():
            loss = task.loss(batch)
        loss.backward()
        if update.clip_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), update.clip_grad_norm)
        stepper.step()
        stepper.zero_grad(set_to_none=True)

    return step


def bare_seconds(step: Callable[[], None], device: torch.device, seconds: float) -> float:
    """Repeat a step past the first, and give its mean seconds."""
    step()
    wait_for(device)
    began, taken = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds or taken == 0:
        for _ in range(_STEPS_A_READING[device.type]):
            step()
            taken += 1
        wait_for(device)
    return passed / taken


def wait_for(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
