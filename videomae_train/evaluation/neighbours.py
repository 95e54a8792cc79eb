"""Classifying whole videos by their nearest neighbours among labelled ones: nothing is trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from videomae_train.errors import TrainingError
from videomae_train.evaluation.features import clip_features, knn_shares
from videomae_train.evaluation.number_format import PrecisionName, computing_in
from videomae_train.evaluation.scoring import VideoScores
from videomae_train.model import VideoMAEModel
from videomae_train.types import EvaluationBatch, Fault


@dataclass(frozen=True)
class VideoFeatures:
    """One feature vector of each readable video.

    Attributes:
        sample_ids: int64 (n,), rows of the data set's index.
        labels: int64 (n,).
        features: float32 (n, D), the mean over views of `features.clip_features`.
        faults: Videos that could not be read; nothing stands in for them.
    """

    sample_ids: Tensor
    labels: Tensor
    features: Tensor
    faults: tuple[Fault, ...]


def video_features(
    model: VideoMAEModel,
    batches: Iterable[EvaluationBatch],
    device: torch.device,
    precision: PrecisionName = "fp32",
) -> VideoFeatures:
    """Describe this rank's videos; no collective operation happens here, so a rank may have none.

    Args:
        model: In evaluation mode, on the device.
        batches: Videos with all their views.
        device: Where the clips are encoded; features come back on the CPU.
        precision: Of the matrix products; features are float32.
    """
    nothing = torch.empty(0, dtype=torch.int64)
    parts = [VideoFeatures(nothing, nothing, torch.empty(0, model.config.hidden_size), ())]
    for batch in batches:
        videos, views = batch.clips.shape[:2]
        features = torch.empty(0, model.config.hidden_size)
        if videos:
            with computing_in(precision, device):
                each = clip_features(model, batch.clips.flatten(0, 1).to(device))
            features = each.unflatten(0, (videos, views)).mean(1).cpu()
        parts.append(VideoFeatures(batch.sample_ids, batch.labels, features, tuple(batch.faults)))
    return merge_features(parts)


def merge_features(parts: Iterable[VideoFeatures]) -> VideoFeatures:
    """Join the features of several batches or ranks, in ascending order of sample ids."""
    parts = list(parts)
    ids = torch.cat([part.sample_ids for part in parts])
    order = ids.argsort(stable=True)
    return VideoFeatures(
        ids[order],
        torch.cat([part.labels for part in parts])[order],
        torch.cat([part.features for part in parts])[order],
        tuple(fault for part in parts for fault in part.faults),
    )


def score_by_neighbours(
    voting: VideoFeatures, asked: VideoFeatures, *, num_classes: int, k: int, temperature: float
) -> VideoScores:
    """Classify videos by the votes of their nearest neighbours; a class's probability is its share of them.

    Args:
        voting: Labelled videos, none of which is among those asked.
        asked: The videos to classify.
        num_classes: Classes of the data set.
        k: See `features.knn_shares`.
        temperature: Likewise.

    Raises:
        TrainingError: Not one of the voting videos could be read.
    """
    if not len(voting.labels):
        raise TrainingError(
            where="data.selection",
            came=f"no readable video, {len(voting.faults)} unreadable",
            expected="at least one that votes",
            todo="`videomae check` says what is wrong with them.",
        )
    shares = knn_shares(
        voting.features, voting.labels, asked.features, num_classes=num_classes, k=k, temperature=temperature
    )
    return VideoScores(asked.sample_ids.numpy(), asked.labels.numpy(), shares.float().numpy(), asked.faults)
