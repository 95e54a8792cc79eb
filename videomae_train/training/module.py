"""The loop's inside: accumulate micro-batches, clip, step, report. One class for every training stage."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from videomae_train.errors import TrainingError
from videomae_train.model import config_record
from videomae_train.optim import OptimizerOptions, build_optimizer, set_learning_rate
from videomae_train.randomness import seed_global_generators, seeded_scope
from videomae_train.training.gating import Skips
from videomae_train.training.gradient_sync import gradient_sync, order_buckets
from videomae_train.training.meter import Meter
from videomae_train.training.plan import StepPlan
from videomae_train.training.speed import clip_flops, matmul_peak, peak_memory_gib
from videomae_train.training.tasks import Task
from videomae_train.training.updating import UpdateOptions, Updater
from videomae_train.types import Fault, LabeledBatch, PretrainBatch

_AVERAGED = "averaged_weights"

# Given the step and the figures of a report before it is recorded, on every rank; gives figures to add.
Companion = Callable[[int, Mapping[str, float]], Mapping[str, float]]


@dataclass(frozen=True)
class StepOptions:
    """How optimizer steps are made and reported.

    Attributes:
        seed: The run's seed; with the step, micro-batch and rank it keys the model's own draws.
        update: How gradients become new weights.
        log_every_steps: Optimizer steps between two reports.
        max_fault_ratio: Share of unreadable videos past which the run stops, in [0, 1].
        max_nonfinite_steps: Steps in a row without a finite loss and gradient past which the run stops; each of them
            leaves the weights as they are. Looked at with every report.
    """

    seed: int
    update: UpdateOptions
    log_every_steps: int
    max_fault_ratio: float
    max_nonfinite_steps: int


class SteppingModule(pl.LightningModule):
    """A LightningModule that steps by hand: a loader batch is a micro-batch of an optimizer step.

    Between two reports nothing waits for the device.

    Args:
        task: Model and loss.
        plan: Batch arithmetic and schedule.
        optimizer: Which optimiser.
        options: Updates, reporting, tolerance of faults.
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
        self.companions: list[Companion] = []
        self.validation: Mapping[str, float] = {}  # the latest figures of a validation
        self.signs: list[Callable[[str], None]] = []  # told what happens beside the steps, while it gets on
        self._task, self._optimizer_options, self._on_step = task, optimizer, on_step
        self._micro_index = 0
        self._is_first_batch = True  # of this attempt
        self._step = 0
        self.first_step = 0  # of this attempt: where the checkpoint was that it went on from
        self._local_faults: list[Fault] = []
        self._meter = Meter()
        self._clip_flops: int | None = None
        self._update: Updater | None = None  # from the start of training on, when the device is known
        self._restored: Mapping[str, Any] | None = None

    @property
    def step(self) -> int:
        """Optimizer steps taken or held back since the beginning of the run, over all attempts."""
        return self._step

    @property
    def at_step_boundary(self) -> bool:
        """Whether the last micro-batch completed an optimizer step: the only moments when state is whole."""
        return self._micro_index == 0

    def completed_one_of(self, every_steps: int) -> bool:
        """Whether the last micro-batch completed an optimizer step whose number this divides."""
        return self.at_step_boundary and self._step % every_steps == 0

    @contextmanager
    def aside(self) -> Generator[None]:
        """Look at the model in evaluation mode inside a block, without a trace in training or its speed."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # work of training that is still under way counts as such
        was_training = self.model.training
        self.model.eval()
        try:
            with self._meter.stopped(), seeded_scope("aside"):
                yield
        finally:
            self.model.train(was_training)

    def use_micro_batch(self, size: int) -> None:
        """Take so many videos at once instead, before training starts; accumulation follows."""
        accumulation = self.plan.global_batch // (size * self.plan.world_size)
        self.plan = replace(self.plan, micro_batch=size, accumulation=accumulation)

    def averaged_weights(self) -> AbstractContextManager[None]:
        """Let the model hold the averaged weights inside a block; where none are kept, its own."""
        if self._update is None:
            self.on_train_start()  # a run that is resumed after its last step never starts to train
        return self._updater.averaged_weights()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Build the optimiser on the model as it is now."""
        return build_optimizer(
            self.model,
            self._task.model.no_weight_decay(),
            self._optimizer_options,
            peak_lr=self.plan.schedule.peak,
        )

    def on_train_start(self) -> None:
        """Make what lies beside the weights, on their device, as new or as the checkpoint has it."""
        self._update = Updater(self.model, self.options.update, self.device)
        if self._restored is not None:
            self._update.load_state_dict(self._restored, self._step)
            self._restored = None

    def on_train_batch_start(self, batch: PretrainBatch | LabeledBatch, batch_idx: int) -> None:
        """See to it that the first step of an attempt sums gradients as every other one does."""
        if self._is_first_batch:
            self._is_first_batch = False
            with self._meter.stopped():
                order_buckets(self.trainer.strategy.model, lambda: self.manual_backward(self._loss(batch)))

    def stages(self) -> Mapping[str, tuple[object, str]]:
        """Name the stages of a step for profiles: the object and its method; from the start of training on."""
        stages = {"loss": (self._task, "loss"), "backward": (self, "manual_backward")}
        return stages | {"optimiser": (self._updater, "apply")}

    @property
    def _updater(self) -> Updater:
        assert self._update is not None, "made when training starts"
        return self._update

    def training_step(self, batch: PretrainBatch | LabeledBatch, batch_idx: int) -> None:
        """Take one micro-batch; the last of a step also clips and steps."""
        self._meter.data_arrived()
        self._measure_once(batch)
        self._local_faults.extend(batch.faults)
        seed_global_generators(self.options.seed, self._step, self._micro_index, self.global_rank)
        completes = self._micro_index == self.plan.accumulation - 1
        with gradient_sync(self.trainer.strategy.model, completes):
            loss = self._loss(batch)
            self.manual_backward(self._updater.objective(loss, self.plan.accumulation))
        self._meter.add(loss.detach(), len(batch.clips))
        self._micro_index = 0 if completes else self._micro_index + 1
        if completes:
            self._finish_step()
        self._meter.compute_ended()

    def _measure_once(self, batch: PretrainBatch | LabeledBatch) -> None:
        if self._clip_flops is None:
            with self._meter.stopped():
                self._clip_flops = clip_flops(self.model, batch)
                matmul_peak(self.device, self.options.update.precision)  # kept for the reports

    def _loss(self, batch: PretrainBatch | LabeledBatch) -> Tensor:
        with self._updater.autocast():
            return self._task.loss(batch)

    def _finish_step(self) -> None:
        optimizer: Any = self.optimizers()
        rate = self.plan.schedule(self._step)
        set_learning_rate(optimizer.optimizer, rate)
        norm = self._updater.apply(optimizer.optimizer, optimizer.step)
        self._step += 1
        self._on_step(self.plan.global_batch)
        if self._step % self.options.log_every_steps == 0 or self._step == self.plan.total_steps:
            self._report(rate, norm)

    def _report(self, rate: float, norm: Tensor) -> None:
        total, num_finite, views = self.trainer.strategy.reduce(self._meter.sums(), reduce_op="sum").tolist()
        self.gather_faults()
        skips = self._updater.skips()
        seconds = self._meter.restart()
        assert self._clip_flops is not None
        flops_per_sec = self._clip_flops * views / seconds.total / self.trainer.world_size
        self.latest = {
            "train/loss": total / num_finite if num_finite else float("nan"),
            "train/lr": rate,
            "train/grad_norm": float(norm),
            "train/views_per_sec": views / seconds.total,
            "train/data_wait_ratio": seconds.waited / seconds.total,
            "train/num_faults": len(self.faults),
            "train/num_skipped": skips.num_skipped,
            "train/tflops_per_sec": flops_per_sec / 1e12,
            "train/peak_ratio": flops_per_sec / matmul_peak(self.device, self.options.update.precision),
            "train/memory_gib": peak_memory_gib(self.device),
        }
        for companion in self.companions:
            self.latest = {**self.latest, **companion(self._step, self.latest)}
        for logger in self.loggers:
            logger.log_metrics(dict(self.latest), step=self._step)
            logger.save()
        self._check_faults(len(self.faults))
        self._check_skips(skips)

    def gather_faults(self) -> None:
        """Bring the faults that each rank met to every rank; collective."""
        mine, self._local_faults = self._local_faults, []
        self.faults.extend(Fault(*fault) for faults in self._of_ranks(mine) for fault in faults)

    def _of_ranks(self, mine: Any) -> list[Any]:
        if self.trainer.world_size == 1:
            return [mine]
        gathered: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(gathered, mine)
        return gathered

    # The figures of both checks stand for all ranks, so that every rank decides alike.
    def _check_faults(self, num_faults: int) -> None:
        consumed = self._step * self.plan.global_batch
        if num_faults > self.options.max_fault_ratio * (consumed + num_faults):
            named = ", ".join(f"{fault.key} ({fault.cause})" for fault in self.faults[:5])
            raise TrainingError(
                where=f"step {self._step}",
                came=f"{num_faults} unreadable videos beside {consumed} good ones; the first: {named}",
                expected=f"a share of at most {self.options.max_fault_ratio} (max_fault_ratio)",
                todo="Repair or remove the videos listed in faults.json of the run, or allow a larger share.",
            )

    def _check_skips(self, skips: Skips) -> None:
        # A run that is shorter than the limit must not end well without a single step taken.
        limit = min(self.options.max_nonfinite_steps, self.plan.total_steps - 1)
        if skips.in_a_row > limit:
            raise TrainingError(
                where=f"step {self._step}",
                came=f"{skips.in_a_row} steps in a row whose loss or gradient was not finite;"
                f" the weights are those of step {self._step - skips.in_a_row}",
                expected=f"at most {limit} (trainer.max_nonfinite_steps)",
                todo="Lower optim.base_lr, lengthen the warm-up, set optim.clip_grad_norm, or train with"
                " trainer.precision=bf16 or fp32; the newest checkpoint holds finite weights.",
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the step, the faults so far, what the model is, and what lies beside the weights.

        `gather_faults` has run before. The averaged weights stand apart, under their model's names, so that the file
        is a source of either weights.
        """
        state = self._updater.state_dict()
        averaged = state.pop(_AVERAGED)
        if averaged is not None:
            checkpoint[_AVERAGED] = averaged
        checkpoint["config"] = config_record(self.model)
        checkpoint["progress"] = {"step": self._step, "faults": [tuple(fault) for fault in self.faults]}
        checkpoint["update"] = state
        checkpoint["losses"] = {
            "of_ranks": self._of_ranks(self._meter.losses()),
            "micro_batches": self._micro_batches,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the step, the faults and what lies beside the weights again."""
        self._step = self.first_step = checkpoint["progress"]["step"]
        self.faults = [Fault(*fields) for fields in checkpoint["progress"]["faults"]]
        self._restored = {**checkpoint["update"], _AVERAGED: checkpoint.get(_AVERAGED)}
        self._restore_losses(**checkpoint["losses"])

    def _restore_losses(self, of_ranks: Sequence[Tensor | None], micro_batches: int) -> None:
        """Take up this rank's losses since the last report; of another number of ranks, rank 0 takes all.

        A step of fewer micro-batches than now counts as much as one of now.
        """
        given = [losses for losses in of_ranks if losses is not None]
        if len(of_ranks) != self.trainer.world_size:
            of_ranks = [torch.stack(given).sum(0) if given else None, *[None] * (self.trainer.world_size - 1)]
        mine = of_ranks[self.trainer.global_rank]
        if mine is not None:
            self._meter.restore_losses(mine * (self._micro_batches / micro_batches))

    @property
    def _micro_batches(self) -> int:
        """Micro-batches of a step on all ranks."""
        return self.plan.accumulation * self.plan.world_size
