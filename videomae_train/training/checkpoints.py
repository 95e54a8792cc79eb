"""Checkpoints of a run: written whole or not at all, the last few kept, the newest found again."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from videomae_train.training.module import SteppingModule

_NAME = re.compile(r"step-(\d{8})\.ckpt")


def newest_checkpoint(folder: Path) -> Path | None:
    """Find the checkpoint of the highest step, or None when the folder is missing or has none."""
    found = _checkpoints(folder)
    return found[-1] if found else None


def _checkpoints(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


class StepCheckpoint(pl.Callback):
    """Save every so many optimizer steps and at the end, atomically; keep the last few.

    Args:
        folder: Where the files go.
        every_steps: Optimizer steps between two saves.
        keep: How many of the newest to keep, >= 1.
    """

    def __init__(self, folder: Path, *, every_steps: int, keep: int) -> None:
        self._folder, self._every_steps, self._keep = folder, every_steps, keep
        self._last_saved = -1

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save after a step that is due."""
        module = _stepping(pl_module)
        if module.at_step_boundary and module.step % self._every_steps == 0:
            self._save(trainer, module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the end, if the last step was not due anyway."""
        self._save(trainer, _stepping(pl_module))

    def _save(self, trainer: pl.Trainer, module: SteppingModule) -> None:
        if module.step == self._last_saved:
            return
        self._last_saved = module.step
        module.gather_faults()
        path = self._folder / f"step-{module.step:08d}.ckpt"
        unfinished = path.with_suffix(".unfinished")
        trainer.save_checkpoint(unfinished)  # collective; rank 0 writes
        if trainer.is_global_zero:
            _publish(unfinished, path)
            for old in _checkpoints(self._folder)[: -self._keep]:
                old.unlink()
        trainer.strategy.barrier("checkpoint published")


def _publish(unfinished: Path, path: Path) -> None:
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def _stepping(module: pl.LightningModule) -> SteppingModule:
    assert isinstance(module, SteppingModule)
    return module
