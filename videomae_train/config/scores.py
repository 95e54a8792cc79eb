"""What a score stands on, from the configuration, and the files that it is written to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from videomae_train.config.knn import NeighboursConfig
from videomae_train.config.schema import EvaluateConfig
from videomae_train.data.datasets import EvaluationDataset
from videomae_train.data.index import PackedDataset, Selection
from videomae_train.data.layout import write_json
from videomae_train.data.options import ViewOptions
from videomae_train.errors import ConfigError
from videomae_train.evaluation.classes import class_scores, confusion_matrix, most_confused
from videomae_train.evaluation.number_format import PrecisionName
from videomae_train.evaluation.recordings import recordings_of
from videomae_train.evaluation.scoring import Accuracy, VideoScores
from videomae_train.model import VideoMAEConfig


def scored_videos(
    config: EvaluateConfig, model: VideoMAEConfig, *, rank: int, world: int
) -> EvaluationDataset:
    """Open a rank's share of the videos to score, after comparing the model's classes with the data's.

    Raises:
        ConfigError: The classes differ, there is no such selection, or a video's recording is not found.
    """
    dataset = PackedDataset.open(config.data.path, config.loader.storage)
    check_classes(model, dataset)
    selected = dataset.select(config.data.selection)
    recordings_of(keys_of(selected), config.data.recordings)
    return EvaluationDataset(selected, config.data, rank=rank, world=world)


def keys_of(selected: Selection, sample_ids: np.ndarray | None = None) -> list[str]:
    """Name the videos of a selection, or those of its set with these rows."""
    return [
        selected.dataset.key(int(row)) for row in (selected.sample_ids if sample_ids is None else sample_ids)
    ]


def score_recipe(config: EvaluateConfig | NeighboursConfig, of_machine: set[str]) -> dict[str, Any]:
    """Give the values that decide about a score, but its videos, which their fingerprint stands for.

    Args:
        config: Of the score.
        of_machine: Fields that decide about nothing in it.
    """
    values = config.model_dump(mode="json", exclude=of_machine)
    values["data"].pop("path")
    if config.data.recordings is None:  # scores from before there was such a value are the same
        values["data"].pop("recordings")
    return values


def check_classes(model: VideoMAEConfig, dataset: PackedDataset) -> None:
    """Compare class names number by number: a label means the same class on both sides, or nothing is scored.

    Raises:
        ConfigError: They differ.
    """
    of_model = tuple(model.id2label[number] for number in range(model.num_labels))
    if of_model == dataset.classes:
        return
    moved = set(of_model) == set(dataset.classes)
    pairs = zip(of_model, dataset.classes, strict=False)
    differing = [f"{number} is {a} there and {b} here" for number, (a, b) in enumerate(pairs) if a != b]
    raise ConfigError(
        where="weights",
        came=f"a model of the classes {_shortened(of_model)}"
        + (f"; class {differing[0]}" if differing else ""),
        expected=f"those of {dataset.folder} in the same order: {_shortened(dataset.classes)}",
        todo="The names are the same in another order: pack the videos again in the order of the model's config.json."
        if moved
        else "Score the model on the set that it was trained for.",
    )


def _shortened(names: tuple[str, ...]) -> str:
    return (", ".join(names[:5]) or "none") + (f" ... ({len(names)})" if len(names) > 5 else "")


def save_scores(
    config: EvaluateConfig | NeighboursConfig,
    selected: Selection,
    scores: VideoScores,
    accuracy: Accuracy,
    further: Mapping[str, object],
) -> None:
    """Write scores.npz (keys, ids, labels, probabilities, classes) and metrics.json into the run's folder.

    Args:
        config: What was scored and how.
        selected: The videos that were asked for.
        scores: Of each.
        accuracy: Of all.
        further: Values for metrics.json beside these: what else the scores stand on.
    """
    config.run.mkdir(parents=True, exist_ok=True)
    dataset = selected.dataset
    assert isinstance(dataset, PackedDataset)
    matrix = confusion_matrix(scores)
    np.savez_compressed(
        config.run / "scores.npz",
        keys=np.array(keys_of(selected, scores.sample_ids)),
        classes=np.array(dataset.classes),
        sample_ids=scores.sample_ids,
        labels=scores.labels,
        probabilities=scores.probabilities,
    )
    record = {
        "weights": str(config.weights),
        "data": {"path": str(config.data.path), "fingerprint": selected.fingerprint},
        "selection": selected.name,
        "views": f"{config.data.num_clips} x {config.data.num_crops}",
        **asdict(accuracy),
        "recordings": config.data.recordings,
        **further,
        "classes": [asdict(score) for score in class_scores(matrix, dataset.classes)],
        "most_confused": [asdict(pair) for pair in most_confused(matrix, dataset.classes)],
        "confusion_matrix": matrix.tolist(),
        "faults": [fault._asdict() for fault in scores.faults],
    }
    write_json(config.run / "metrics.json", record, indent=1)


def describe_views(options: ViewOptions, precision: PrecisionName = "fp32") -> str:
    """Say in words which views are taken of a video: everything that a score depends on beside weights and videos."""
    pace = "" if options.stride is None else f", stride {options.stride}"
    seconds = "" if options.frame_interval_sec is None else f", {options.frame_interval_sec:g} s apart"
    antialias = "" if options.antialias else ", no antialias"
    return (
        f"{options.num_clips} x {options.num_crops} views of {options.num_frames} x {options.size} px,"
        f" {options.windows}{pace}{seconds}{antialias}{'' if precision == 'fp32' else f', {precision}'}"
    )
