"""When a run saves: every so many steps or minutes, at its end, and when it is asked to stop.

A save copies the state to the host; a thread writes it while the next steps run.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_utilities.core.apply_func import apply_to_collection
from pytorch_lightning.plugins import CheckpointIO
from torch import Tensor

from videomae_train.errors import VideoMAETrainError
from videomae_train.training.agreement import Agreement
from videomae_train.training.checkpoint_files import (
    checkpoint_path,
    choose_checkpoint,
    is_checkpoint,
    keep_newest,
    remove_checkpoint,
    write_checkpoint,
)
from videomae_train.training.module import SteppingModule
from videomae_train.training.preemption import StopRequest


@dataclass(frozen=True)
class SavingOptions:
    """When checkpoints are written and how many stay.

    Attributes:
        every_steps: Optimizer steps between two saves; None does not count them.
        every_minutes: Minutes since the last save after which the next step is saved too; None does not look at the
            clock.
        keep: How many of the newest to keep, >= 1.
        at_end: Whether the run's last step is saved in any case; measurements do without.
    """

    every_steps: int | None
    every_minutes: float | None
    keep: int
    at_end: bool = True


class CheckpointFiles(CheckpointIO):
    """Reads and writes checkpoints for Lightning, as `checkpoint_files` does.

    Writing goes on in a thread, one checkpoint at a time, from a copy of the state in the host's memory. Only rank 0
    writes, while others may ask nothing of it; so a failure is kept until `finish`.

    Args:
        agreement: Between the ranks; rank 0 chooses what all read.
        may_save: Called on rank 0 before anything is written; raises where this run must not.
        keep: How many of the newest checkpoints stay when one more is there.
    """

    def __init__(self, agreement: Agreement, may_save: Callable[[], None], keep: int) -> None:
        self._agreement, self._may_save, self._keep = agreement, may_save, keep
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Begin to write what the checkpoint is now; Lightning calls this on rank 0.

        Files of its own, by which forked ranks hand back weights, are there when this returns.
        """
        if not is_checkpoint(Path(path)):
            write_checkpoint(checkpoint, Path(path))
            return
        try:
            self._may_save()
        except VideoMAETrainError as error:
            self._writing = Future()
            self._writing.set_exception(error)
            return
        state = apply_to_collection(checkpoint, Tensor, _copy_on_host)
        self._writing = self._thread.submit(self._write, state, Path(path))

    def _write(self, state: dict[str, Any], path: Path) -> None:
        write_checkpoint(state, path)
        keep_newest(path.parent, self._keep)

    @property
    def has_written(self) -> bool:
        """Whether a writing is over that `finish` has not been told of."""
        return self._writing is not None and self._writing.done()

    def finish(self) -> None:
        """Wait for the writing that goes on, and raise what it failed of, if it did."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint, or of a folder the newest intact one, the same on every rank.

        The choice is made here and not before: only now the ranks can talk to each other.
        """
        asked = Path(path)
        chosen = self._agreement.by_first(lambda: choose_checkpoint(asked)) if asked.is_dir() else asked
        # Mapped, the file is in a node's memory once for all its ranks. What one of them changes is its own copy.
        return torch.load(chosen, map_location="cpu", weights_only=True, mmap=True)

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint; Lightning does so with those of its own."""
        remove_checkpoint(Path(path))


class StepCheckpoint(pl.Callback):
    """Saves whole steps, on all ranks at once, and ends the run after a signal.

    Its `files` belong into the trainer's plugins.

    Args:
        folder: Where the files go.
        options: When, and how many stay.
        agreement: Between the ranks.
        stop: Signals to this rank; None heeds none.
        clock: Seconds, of which rank 0's count.
        may_save: As `CheckpointFiles` has it.
    """

    def __init__(
        self,
        folder: Path,
        options: SavingOptions,
        agreement: Agreement | None = None,
        stop: StopRequest | None = None,
        clock: Callable[[], float] = time.monotonic,
        may_save: Callable[[], None] = lambda: None,
    ) -> None:
        self.agreement = agreement or Agreement()
        self.files = CheckpointFiles(self.agreement, may_save, options.keep)
        self.stopped_by: str | None = None  # name of the signal that ended the run
        self._folder, self._options = folder, options
        self._stop, self._clock = stop, clock
        self._saved_step, self._saved_at = 0, clock()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count from where the run goes on."""
        self._saved_step, self._saved_at = _stepping(pl_module).step, self._clock()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save after a step that is due, and after the one in which a signal came to any of the ranks."""
        module = _stepping(pl_module)
        if not module.at_step_boundary:
            return
        is_first = trainer.is_global_zero
        signal_number, minutes_are_over, has_written = self.agreement.largest(
            [
                self._stop.number if self._stop else 0,
                is_first and self._minutes_are_over(),
                is_first and self.files.has_written,
            ]
        )
        if has_written:
            self._finish_writing()
        if signal_number or minutes_are_over or self._steps_are_over(module.step):
            self._save(trainer, module)
        if signal_number and module.step < module.plan.total_steps:
            self._finish_writing()
            self.stopped_by = signal.Signals(signal_number).name
            trainer.should_stop = True

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the end, if the last step was not due anyway."""
        if self._options.at_end:
            self._save(trainer, _stepping(pl_module))
        self._finish_writing()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Let the checkpoint that is being written become whole; ranks say nothing to each other here."""
        try:
            self.files.finish()
        except (VideoMAETrainError, OSError) as failure:
            if failure is not exception:
                print(f"Beside the error that ends the run: {failure}", file=sys.stderr)

    def _steps_are_over(self, step: int) -> bool:
        return self._options.every_steps is not None and step % self._options.every_steps == 0

    def _minutes_are_over(self) -> bool:
        minutes = self._options.every_minutes
        return minutes is not None and self._clock() - self._saved_at >= 60 * minutes

    def _save(self, trainer: pl.Trainer, module: SteppingModule) -> None:
        if module.step == self._saved_step:
            return
        self._finish_writing()
        module.gather_faults()
        trainer.save_checkpoint(checkpoint_path(self._folder, module.step))  # collective; rank 0 writes
        self._saved_step, self._saved_at = module.step, self._clock()

    def _finish_writing(self) -> None:
        """Wait on all ranks for rank 0's writing; a failure is raised on all."""
        self.agreement.by_first(self.files.finish)


def _copy_on_host(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)


def _stepping(module: pl.LightningModule) -> SteppingModule:
    assert isinstance(module, SteppingModule)
    return module
