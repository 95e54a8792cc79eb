"""What the encoder's features are worth while it is pretrained: an online kNN, a linear probe and an effective rank."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from videomae_train.evaluation.features import clip_features, effective_rank, knn_accuracy, ridge_accuracy
from videomae_train.model import VideoMAEForPreTraining
from videomae_train.training.module import SteppingModule
from videomae_train.types import EvaluationBatch

Batches = Callable[[], Iterable[EvaluationBatch]]


class OnlineProbe(pl.Callback):
    """Reports probe/knn_top1, probe/linear_top1 and probe/effective_rank (of the videos to learn from).

    Rank 0 computes, in the weights' own format, and the others wait for it at their next message.

    Args:
        every_steps: Optimizer steps between two probes.
        train: Gives the labelled videos to learn from, anew each time.
        test: Gives those to classify.
    """

    def __init__(self, every_steps: int, train: Batches, test: Batches) -> None:
        self._every_steps, self._train, self._test = every_steps, train, test

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Probe at the end of an optimizer step when it is time."""
        assert isinstance(pl_module, SteppingModule)
        if not (trainer.is_global_zero and pl_module.completed_one_of(self._every_steps)):
            return
        with pl_module.aside():
            figures = self._probe(pl_module.model, pl_module.device)
        for logger in pl_module.loggers:
            logger.log_metrics(figures, step=pl_module.step)
            logger.save()
        words = " · ".join(f"{name.removeprefix('probe/')} {value:.4g}" for name, value in figures.items())
        print(f"probe, step {pl_module.step}: {words}", file=sys.stderr)

    def _probe(self, model: Any, device: torch.device) -> dict[str, float]:
        assert isinstance(model, VideoMAEForPreTraining)
        train, train_labels, unreadable = _features(model, self._train(), device)
        test, test_labels, more = _features(model, self._test(), device)
        return {
            "probe/knn_top1": knn_accuracy(train, train_labels, test, test_labels),
            "probe/linear_top1": ridge_accuracy(train, train_labels, test, test_labels),
            "probe/effective_rank": effective_rank(train),
            "probe/num_faults": unreadable + more,
        }


def _features(
    model: VideoMAEForPreTraining, batches: Iterable[EvaluationBatch], device: torch.device
) -> tuple[Tensor, Tensor, int]:
    """Give features (n, D) and labels (n,) on the CPU, and how many videos could not be read."""
    features = [torch.empty(0, model.config.hidden_size)]
    labels = [torch.empty(0, dtype=torch.int64)]
    unreadable = 0
    for batch in batches:
        unreadable += len(batch.faults)
        if len(batch.labels):
            features.append(clip_features(model, batch.clips.flatten(0, 1).to(device)).cpu())
            labels.append(batch.labels)
    return torch.cat(features), torch.cat(labels), unreadable
