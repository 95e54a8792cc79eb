"""The loop's inside: accumulate micro-batches, clip, step, report. One class for every training stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from videomae_train.errors import TrainingError
from videomae_train.model import config_record
from videomae_train.optim import OptimizerOptions, build_optimizer, set_learning_rate
from videomae_train.randomness import seed_global_generators
from videomae_train.training.plan import StepPlan
from videomae_train.training.tasks import Task
from videomae_train.types import Fault, LabeledBatch, PretrainBatch


@dataclass(frozen=True)
class StepOptions:
    """How optimizer steps are made and reported.

    Attributes:
        seed: The run's seed; with the step, micro-batch and rank it keys the model's own draws.
        clip_grad_norm: Largest gradient norm; None does not clip.
        log_every_steps: Optimizer steps between two reports.
        max_fault_ratio: Share of unreadable videos past which the run stops, in [0, 1].
    """

    seed: int
    clip_grad_norm: float | None
    log_every_steps: int
    max_fault_ratio: float


class SteppingModule(pl.LightningModule):
    """A LightningModule that steps by hand: a loader batch is a micro-batch of an optimizer step.

    Args:
        task: Model and loss.
        plan: Batch arithmetic and schedule.
        optimizer: Which optimiser.
        options: Clipping, reporting, tolerance of faults.
        on_step: Called after every optimizer step with the number of videos it took over all ranks; the data module
            moves its position there.
    """

    def __init__(
        self,
        task: Task,
        plan: StepPlan,
        optimizer: OptimizerOptions,
        options: StepOptions,
        on_step: Callable[[int], None],
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = task.model
        self.plan, self.options = plan, options
        self.faults: list[Fault] = []  # of all ranks, as of the last gathering
        self.latest: Mapping[str, float] = {}
        self._task, self._optimizer_options, self._on_step = task, optimizer, on_step
        self._micro_index = 0
        self._step = 0
        self._local_faults: list[Fault] = []
        self._meter = _Meter()

    @property
    def step(self) -> int:
        """Optimizer steps taken since the beginning of the run, over all attempts."""
        return self._step

    @property
    def at_step_boundary(self) -> bool:
        """Whether the last micro-batch completed an optimizer step: the only moments when state is whole."""
        return self._micro_index == 0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Build the optimiser on the model as it is now."""
        return build_optimizer(self.model, self._task.model.no_weight_decay(), self._optimizer_options)

    def training_step(self, batch: PretrainBatch | LabeledBatch, batch_idx: int) -> None:
        """Take one micro-batch; the last of a step also clips and steps."""
        self._meter.data_arrived()
        self._local_faults.extend(batch.faults)
        seed_global_generators(self.options.seed, self._step, self._micro_index, self.global_rank)
        completes = self._micro_index == self.plan.accumulation - 1
        with self._gradient_sync(completes):
            loss = self._task.loss(batch)
            self.manual_backward(loss / self.plan.accumulation)
        self._meter.add(loss.detach(), len(batch.clips))
        self._micro_index = 0 if completes else self._micro_index + 1
        if completes:
            self._finish_step()
        self._meter.compute_ended()

    def _gradient_sync(self, wanted: bool) -> Any:
        strategy = self.trainer.strategy
        model = strategy.model
        if wanted or not isinstance(model, torch.nn.parallel.DistributedDataParallel):
            return torch.enable_grad()
        return model.no_sync()

    def _finish_step(self) -> None:
        optimizer: Any = self.optimizers()
        rate = self.plan.schedule(self._step)
        set_learning_rate(optimizer.optimizer, rate)
        limit = self.options.clip_grad_norm
        norm = torch.nn.utils.clip_grad_norm_(
            self.model.parameters(), limit if limit is not None else float("inf")
        )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self._step += 1
        self._on_step(self.plan.global_batch)
        if self._step % self.options.log_every_steps == 0 or self._step == self.plan.total_steps:
            self._report(rate, norm)

    def _report(self, rate: float, norm: Tensor) -> None:
        loss = self._reduce(self._meter.mean_loss(), "mean")
        views = self._reduce(torch.tensor(float(self._meter.clips), device=self.device), "sum")
        self.gather_faults()
        num_faults = len(self.faults)
        seconds, waited = self._meter.restart()
        self.latest = {
            "train/loss": loss,
            "train/lr": rate,
            "train/grad_norm": float(norm),
            "train/views_per_sec": views / seconds,
            "train/data_wait_ratio": waited / seconds,
            "train/num_faults": num_faults,
        }
        for logger in self.loggers:
            logger.log_metrics(dict(self.latest), step=self._step)
            logger.save()
        self._check(loss, num_faults)

    def gather_faults(self) -> None:
        """Bring the faults that each rank met to every rank; collective."""
        mine, self._local_faults = self._local_faults, []
        if self.trainer.world_size == 1:
            self.faults.extend(mine)
            return
        of_ranks: list[list[Fault]] = [[] for _ in range(self.trainer.world_size)]
        torch.distributed.all_gather_object(of_ranks, mine)
        self.faults.extend(Fault(*fault) for faults in of_ranks for fault in faults)

    def _reduce(self, value: Tensor, how: str) -> float:
        return float(self.trainer.strategy.reduce(value, reduce_op=how))

    def _check(self, loss: float, num_faults: int) -> None:
        # Both figures stand for all ranks, so that every rank decides alike.
        consumed = self._step * self.plan.global_batch
        if num_faults > self.options.max_fault_ratio * (consumed + num_faults):
            named = ", ".join(f"{fault.key} ({fault.cause})" for fault in self.faults[:5])
            raise TrainingError(
                where=f"step {self._step}",
                came=f"{num_faults} unreadable videos beside {consumed} good ones; the first: {named}",
                expected=f"a share of at most {self.options.max_fault_ratio} (data.max_fault_ratio)",
                todo="Repair or remove the videos listed in faults.json of the run, or allow a larger share.",
            )
        if not loss == loss or loss in (float("inf"), float("-inf")):
            raise TrainingError(
                where=f"step {self._step}",
                came=f"a loss of {loss}",
                expected="a finite loss",
                todo="Lower optim.base_lr, lengthen the warm-up, or train with trainer.precision=fp32.",
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the step, the faults so far and what the model is; `gather_faults` has run before."""
        checkpoint["config"] = config_record(self.model)
        checkpoint["progress"] = {"step": self._step, "faults": [tuple(fault) for fault in self.faults]}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the step and the faults again."""
        self._step = checkpoint["progress"]["step"]
        self.faults = [Fault(*fields) for fields in checkpoint["progress"]["faults"]]


class _Meter:
    """Loss, clips and seconds since the last report; the loss stays on the device until somebody reads it."""

    def __init__(self) -> None:
        self.clips = 0
        self._losses: Tensor | None = None
        self._batches = 0
        self._waited_sec = 0.0
        self._began = self._idle_since = time.perf_counter()

    def data_arrived(self) -> None:
        self._waited_sec += time.perf_counter() - self._idle_since

    def compute_ended(self) -> None:
        self._idle_since = time.perf_counter()

    def add(self, loss: Tensor, clips: int) -> None:
        self._losses = loss if self._losses is None else self._losses + loss
        self._batches += 1
        self.clips += clips

    def mean_loss(self) -> Tensor:
        assert self._losses is not None
        return self._losses / self._batches

    def restart(self) -> tuple[float, float]:
        """Return (seconds, seconds spent waiting for data) since the last restart, and begin anew."""
        now = time.perf_counter()
        seconds, waited = now - self._began, self._waited_sec
        self.clips, self._losses, self._batches, self._waited_sec, self._began = 0, None, 0, 0.0, now
        return seconds, waited
