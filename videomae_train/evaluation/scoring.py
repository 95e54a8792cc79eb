"""Scores of a classifier over whole videos, several views each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from videomae_train.errors import TrainingError
from videomae_train.evaluation.intervals import Interval, RecordingBootstrap
from videomae_train.evaluation.number_format import PrecisionName, computing_in
from videomae_train.evaluation.views import mean_probabilities
from videomae_train.model import VideoMAEForVideoClassification
from videomae_train.types import EvaluationBatch, Fault


@dataclass(frozen=True)
class VideoScores:
    """Class probabilities of every scored video, in ascending order of sample ids.

    Attributes:
        sample_ids: int64 (n,), rows of the data set's index, unique.
        labels: int64 (n,).
        probabilities: float32 (n, K), the mean over views of each view's softmax.
        faults: Videos that could not be read; nothing stands in for them.
    """

    sample_ids: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class Accuracy:
    """Accuracies over the scored videos, and on how many of how many videos they stand.

    Attributes:
        top1: Share of videos whose class has the highest probability, in [0, 1].
        top5: Share of videos whose class is among the five highest; None with five classes or fewer.
        mean_class: Mean over the classes that occur of each class's top-1.
        top1_interval: 95 % bootstrap interval of top1 over recordings.
        mean_class_interval: 95 % bootstrap interval of mean_class over recordings.
        num_scored: Videos that the figures stand on.
        num_videos: Videos of the selection, unreadable ones included.
        num_recordings: Recordings that the scored videos were cut from; None where each counts as one of its own.
    """

    top1: float
    top5: float | None
    mean_class: float
    top1_interval: Interval
    mean_class_interval: Interval
    num_scored: int
    num_videos: int
    num_recordings: int | None = None

    @property
    def interval_over(self) -> str:
        """Say in words what the intervals are over."""
        return (
            f"{self.num_scored} videos"
            if self.num_recordings is None
            else f"{self.num_recordings} recordings"
        )


@torch.inference_mode()
def score_videos(
    model: VideoMAEForVideoClassification,
    batches: Iterable[EvaluationBatch],
    device: torch.device,
    precision: PrecisionName = "fp32",
) -> VideoScores:
    """Score this rank's videos; no collective operation happens here, so a rank may have none.

    Args:
        model: On the device.
        batches: Videos with all their views.
        device: Where to compute.
        precision: Of the matrix products; probabilities are float32.
    """
    was_training = model.training
    model.eval()
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    faults: list[Fault] = []
    for batch in batches:
        faults.extend(batch.faults)
        if len(batch.labels):
            with computing_in(precision, device):
                probabilities = mean_probabilities(model, batch.clips.to(device))
            rows.append((batch.sample_ids, batch.labels, probabilities.cpu()))
    model.train(was_training)
    if not rows:
        empty = np.zeros(0, np.int64)
        return VideoScores(empty, empty, np.zeros((0, model.config.num_labels), np.float32), tuple(faults))
    ids, labels, shares = (torch.cat(column).numpy() for column in zip(*rows, strict=True))
    return VideoScores(ids, labels, shares, tuple(faults))


def merge_scores(parts: Iterable[VideoScores]) -> VideoScores:
    """Join the scores of all ranks, in ascending order of sample ids.

    Raises:
        TrainingError: A video was scored twice.
    """
    parts = list(parts)
    ids = np.concatenate([part.sample_ids for part in parts])
    if len(np.unique(ids)) != len(ids):
        values, counts = np.unique(ids, return_counts=True)
        repeated = values[counts > 1][:5]
        raise TrainingError(
            where="evaluation",
            came=f"videos scored more than once: rows {repeated.tolist()}",
            expected="each video exactly once over all ranks",
            todo="Report this: the ranks' shares of the selection overlap.",
        )
    rows = np.argsort(ids, kind="stable")
    return VideoScores(
        ids[rows],
        np.concatenate([part.labels for part in parts])[rows],
        np.concatenate([part.probabilities for part in parts])[rows],
        tuple(fault for part in parts for fault in part.faults),
    )


def measure_accuracy(scores: VideoScores, recordings: Sequence[str] | None = None) -> Accuracy:
    """Compute the accuracies of scored videos.

    Args:
        scores: Of each video.
        recordings: What tells apart the recordings that they were cut from, one for each; None where each is its own.

    Raises:
        TrainingError: Not one video could be read.
    """
    if not len(scores.labels):
        raise TrainingError(
            where="evaluation",
            came=f"no readable video, {len(scores.faults)} unreadable",
            expected="at least one video to score",
            todo="`videomae check` says what is wrong with them.",
        )
    hits = are_among(scores, 1)
    numbers = np.arange(len(hits)) if recordings is None else np.unique(recordings, return_inverse=True)[1]
    bootstrap = RecordingBootstrap(numbers)
    return Accuracy(
        top1=top_k_share(scores, 1),
        top5=top_k_share(scores, 5) if scores.probabilities.shape[1] > 5 else None,
        mean_class=_mean_class_accuracy(hits, scores.labels),
        top1_interval=bootstrap.of_mean(hits),
        mean_class_interval=bootstrap.of_class_mean(hits, scores.labels),
        num_scored=len(hits),
        num_videos=len(hits) + len(scores.faults),
        num_recordings=None if recordings is None else int(numbers.max()) + 1,
    )


def top_k_share(scores: VideoScores, k: int) -> float:
    """Give the share of videos whose class is among the k most probable, in [0, 1]; of equal ones the first count."""
    return float(are_among(scores, k).mean())


def are_among(scores: VideoScores, k: int) -> np.ndarray:
    """Say of each video whether its class is among the k most probable: bool (n,)."""
    labels = scores.labels[:, None]
    own = np.take_along_axis(scores.probabilities, labels, 1)
    ties_behind = (scores.probabilities == own) & (np.arange(scores.probabilities.shape[1]) >= labels)
    # What is no number is behind nothing, so that a model of nothing but NaN has no hit.
    return (~((scores.probabilities < own) | ties_behind)).sum(1) < k


def cross_entropy(scores: VideoScores) -> float:
    """Give the mean of -log of the probability of each video's own class, the mean over its views."""
    own = np.take_along_axis(scores.probabilities, scores.labels[:, None], 1).astype(np.float64)
    # What float32 cannot tell from 0 counts as its smallest number: 87.3, where the log would be infinite.
    return float(-np.log(own.clip(min=np.finfo(np.float32).tiny)).mean())


def _mean_class_accuracy(hits: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean([hits[labels == label].mean() for label in np.unique(labels)]))
