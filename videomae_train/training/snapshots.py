"""One video of the set, reconstructed again and again while the model learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.loggers import WandbLogger

from videomae_train.evaluation.reconstruction import VIEW_NOTES, Reconstruction, reconstruct_clip, view_rows
from videomae_train.model import VideoMAEForPreTraining
from videomae_train.pictures import StripPanel, labelled_clip, reconstruction_strip, write_mp4
from videomae_train.training.module import SteppingModule
from videomae_train.types import PretrainBatch

_FPS = 4.0  # slow enough to look at, whatever the video's own rate
_LOOPS = 4


class Snapshots(pl.Callback):
    """Writes step-00000500.png and .mp4 of one fixed clip and mask, and gives them to Weights & Biases.

    Rank 0 does, and the others wait for it at their next message.

    Args:
        folder: Where the pictures go.
        every_steps: Optimizer steps between two pictures.
        batch: Its first clip and mask are pictured.
        title: Stands above the pictures.
    """

    def __init__(self, folder: Path, every_steps: int, batch: PretrainBatch, title: str) -> None:
        self._folder, self._every_steps, self._title = folder, every_steps, title
        self._clip = batch.clips[0]
        self._visible_idx = batch.visible_idx[0].numpy()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Picture the model at the end of an optimizer step when it is time."""
        assert isinstance(pl_module, SteppingModule)
        if not (trainer.is_global_zero and pl_module.completed_one_of(self._every_steps)):
            return
        with pl_module.aside():
            model = pl_module.model
            assert isinstance(model, VideoMAEForPreTraining)
            mask = np.ones(model.config.grid.num_tokens, bool)
            mask[self._visible_idx] = False
            result = reconstruct_clip(model, self._clip.to(pl_module.device), mask)
            strip, video = self._picture(result, pl_module.step)
        for logger in pl_module.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("reconstruction/strip", [str(strip)], step=pl_module.step)
                logger.log_video("reconstruction/clip", [str(video)], step=pl_module.step)

    def _picture(self, result: Reconstruction, step: int) -> tuple[Path, Path]:
        self._folder.mkdir(exist_ok=True)
        stem = self._folder / f"step-{step:08d}"
        strip, video = stem.with_suffix(".png"), stem.with_suffix(".mp4")
        rows, heading = view_rows(result), f"step {step}, loss {result.loss:.3f}"
        notes = [VIEW_NOTES[rows[-1].label]]
        reconstruction_strip(strip, [StripPanel(heading, rows)], title=self._title, notes=notes)
        write_mp4(video, np.concatenate([labelled_clip(rows)] * _LOOPS), _FPS)
        return strip, video
