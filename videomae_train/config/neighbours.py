"""`videomae probe probe=knn`: classify videos by the nearest labelled ones, on the encoder's features alone."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from videomae_train.config.devices import loader_options
from videomae_train.config.knn import NeighboursConfig
from videomae_train.config.ranks import start_ranks
from videomae_train.config.scores import keys_of, save_scores, score_recipe
from videomae_train.data.datasets import EvaluationDataset
from videomae_train.data.index import PackedDataset, Selection
from videomae_train.data.loader import BatchLoader, evaluation_loader
from videomae_train.errors import ConfigError
from videomae_train.evaluation.neighbours import (
    VideoFeatures,
    merge_features,
    score_by_neighbours,
    video_features,
)
from videomae_train.evaluation.recordings import recordings_of
from videomae_train.evaluation.scoring import Accuracy, measure_accuracy
from videomae_train.model import VideoMAEModel

# Where and how fast, to rounding.
_OF_MACHINE = {"run", "accelerator", "devices", "num_nodes", "threads", "batch_videos", "precision", "loader"}


def probe_neighbours(config: NeighboursConfig) -> Accuracy | None:
    """Classify the videos of one selection by those of another and write scores.npz and metrics.json.

    Returns:
        None on ranks other than the first.

    Raises:
        ConfigError: Nothing is selected, a video is in both selections, or its recording is not found.
        CheckpointError: The weights are missing or damaged.
        VideoMAETrainError: Nothing could be scored.
    """
    dataset = PackedDataset.open(config.data.path, config.loader.storage)
    voting, asked = _selections(config, dataset)
    ranks = start_ranks(config)
    model = VideoMAEModel.from_pretrained(config.weights)

    def one_rank(rank: int, world: int, device: torch.device) -> list[VideoFeatures]:
        return [
            video_features(
                model.to(device), _batches(config, selection, rank, world), device, config.precision
            )
            for selection in (voting, asked)
        ]

    parts = ranks.gather(one_rank)
    if parts is None:
        return None
    voters, others = (merge_features(of_ranks) for of_ranks in zip(*parts, strict=True))
    scores = score_by_neighbours(
        voters,
        others,
        num_classes=len(dataset.classes),
        k=config.knn.neighbours,
        temperature=config.knn.temperature,
    )
    recordings = recordings_of(keys_of(asked, scores.sample_ids), config.data.recordings)
    accuracy = measure_accuracy(scores, recordings)
    save_scores(config, asked, scores, accuracy, _conditions(config, voters))
    return accuracy


def neighbour_recipe(config: NeighboursConfig) -> dict[str, Any]:
    """Give all that decides about the score, and which videos; nothing of the machine.

    Raises:
        ConfigError: Nothing is selected, a video is in both selections, or its recording is not found.
    """
    selections = _selections(config, PackedDataset.open(config.data.path, config.loader.storage))
    return {**score_recipe(config, _OF_MACHINE), "videos": [each.fingerprint for each in selections]}


def _selections(config: NeighboursConfig, dataset: PackedDataset) -> tuple[Selection, Selection]:
    data = config.data
    voting = dataset.select(data.selection, per_class=data.per_class, seed=data.per_class_seed)
    asked = dataset.select(data.val_selection)
    shared = np.intersect1d(voting.sample_ids, asked.sample_ids)
    if len(shared):
        raise ConfigError(
            where="data.selection, data.val_selection",
            came=f"{data.selection} and {data.val_selection}, which share {len(shared)} videos,"
            f" such as {dataset.key(int(shared[0]))}",
            expected="selections without a common video: each would be its own nearest neighbour",
            todo="Choose the parts of one split, such as split1/train and split1/test.",
        )
    recordings_of(keys_of(asked), data.recordings)
    return voting, asked


def _batches(config: NeighboursConfig, selection: Selection, rank: int, world: int) -> BatchLoader:
    videos = EvaluationDataset(selection, config.data, rank=rank, world=world)
    loader = loader_options(config.loader, config.accelerator, config.devices)
    return evaluation_loader(videos, loader, batch_videos=config.batch_videos)


def _conditions(config: NeighboursConfig, voters: VideoFeatures) -> dict[str, object]:
    of_selections = ("path", "selection", "val_selection", "per_class", "per_class_seed", "recordings")
    return {
        "probe": "knn",
        "precision": config.precision,
        "view_options": {
            key: value for key, value in asdict(config.data).items() if key not in of_selections
        },
        **config.knn.model_dump(),
        "voting": {
            "selection": config.data.selection,
            "per_class": config.data.per_class,
            "per_class_seed": config.data.per_class_seed,
            "num_videos": len(voters.labels),
            "faults": [fault._asdict() for fault in voters.faults],
        },
    }
