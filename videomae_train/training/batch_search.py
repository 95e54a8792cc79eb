"""The largest micro-batch that fits the machine, found by doubling it until memory is short."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from videomae_train.errors import ConfigError
from videomae_train.optim import OptimizerOptions, build_optimizer
from videomae_train.randomness import seeded_scope
from videomae_train.training.module import SteppingModule
from videomae_train.training.tasks import Task
from videomae_train.training.updating import UpdateOptions, Updater

# What is left to gradient exchange, cuDNN's choices and fragmentation over days.
_MEMORY_SHARE = 0.9


def largest_that_fits(sizes: Sequence[int], fits: Callable[[int], bool]) -> int:
    """Try sizes in ascending order until one does not fit, and return the one before it; 0 when none fits."""
    found = 0
    for size in sizes:
        if not fits(size):
            break
        found = size
    return found


@dataclass(frozen=True)
class MemoryProbe:
    """Tries training steps of a size on a model of its own, and forgets them.

    Attributes:
        make_task: Makes a model like the run's, on the CPU, with its loss.
        make_batch: Makes a micro-batch of so many videos on a device; its values do not matter.
        optimizer: The run's optimiser.
        update: The run's precision and averaging.
    """

    make_task: Callable[[], Task]
    make_batch: Callable[[int, torch.device], Any]
    optimizer: OptimizerOptions
    update: UpdateOptions

    def fits(self, size: int, device: torch.device) -> bool:
        """Say whether a step of so many videos fits; the global generators are left as they were."""
        with seeded_scope("micro-batch search"):
            try:
                self._train(size, device)
                return True
            except torch.OutOfMemoryError:
                return False
            finally:
                if device.type == "cuda":
                    torch.cuda.empty_cache()

    def _train(self, size: int, device: torch.device) -> None:
        task = self.make_task()
        model = task.model.to(device).train()
        optimizer = build_optimizer(model, model.no_weight_decay(), self.optimizer, peak_lr=1.0)
        updater = Updater(model, self.update, device)
        batch = self.make_batch(size, device)
        _backward(task, updater, batch)
        updater.apply(optimizer, optimizer.step)
        # From here on the optimiser's state lies beside the gradients, and a second micro-batch adds to these.
        for _ in range(2):
            _backward(task, updater, batch)


def _backward(task: Task, updater: Updater, batch: Any) -> None:
    with updater.autocast():
        loss = task.loss(batch)
    updater.objective(loss, 2).backward()


class MicroBatchSearch(pl.Callback):
    """Settle the micro-batch of `trainer.micro_batch=auto` before the loaders are made, alike on all ranks.

    Args:
        sizes: See `micro_batch_sizes`.
        fits: Says whether a size fits a device.
        use: Called with the size to use.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        fits: Callable[[int, torch.device], bool],
        use: Callable[[int], None],
    ) -> None:
        self._sizes, self._fits, self._use = sizes, fits, use

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Search, take the smallest of what the ranks found, and say so.

        Raises:
            ConfigError: Not even the smallest fits; on every rank alike.
        """
        assert isinstance(pl_module, SteppingModule)
        device = trainer.strategy.root_device
        own = self._search(device)
        agreed: Tensor = trainer.strategy.reduce(torch.tensor(own, device=device), reduce_op="min")
        size = int(agreed)
        if size == 0:
            raise ConfigError(
                where="trainer.micro_batch",
                came=f"no memory for {self._sizes[0]} video(s) at once",
                expected="a model of which one training step fits the device",
                todo="Set trainer.activation_checkpointing=true, lower data.views, or take a smaller model.",
            )
        self._use(size)
        if trainer.is_global_zero:
            print(
                f"micro-batch {size} of {list(self._sizes)} fits (trainer.micro_batch=auto);"
                f" {pl_module.plan.accumulation} of them make a step's share of a rank",
                file=sys.stderr,
            )

    def _search(self, device: torch.device) -> int:
        if device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(_MEMORY_SHARE, device)
        try:
            return largest_that_fits(self._sizes, lambda size: self._fits(size, device))
        finally:
            if device.type == "cuda":
                torch.cuda.set_per_process_memory_fraction(1.0, device)
                torch.cuda.reset_peak_memory_stats(device)
