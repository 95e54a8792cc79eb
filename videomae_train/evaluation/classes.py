"""Which classes a classifier knows and which it takes for which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from videomae_train.evaluation.scoring import VideoScores


@dataclass(frozen=True)
class ClassScore:
    """One class among the scored videos.

    Attributes:
        name: Of the class.
        num_videos: Scored videos of the class; a class may have none.
        recall: Share of them that were given this class; None without videos.
        precision: Share of the videos given this class that are of it; None where none was.
    """

    name: str
    num_videos: int
    recall: float | None
    precision: float | None


@dataclass(frozen=True)
class Confusion:
    """Videos of one class that were taken for another.

    Attributes:
        label: The videos' class.
        taken_for: The class they were given.
        count: How many.
        share: Of the videos of the class.
    """

    label: str
    taken_for: str
    count: int
    share: float


def confusion_matrix(scores: VideoScores) -> np.ndarray:
    """Count videos by class (row) and the class they were given (column), int64 (K, K)."""
    num_classes = scores.probabilities.shape[1]
    cells = scores.labels * num_classes + scores.probabilities.argmax(1)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_scores(matrix: np.ndarray, classes: tuple[str, ...]) -> tuple[ClassScore, ...]:
    """Score each class of a confusion matrix (K, K), in the order of the classes."""
    right, actual, given = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    return tuple(
        ClassScore(
            name=name,
            num_videos=int(actual[k]),
            recall=float(right[k] / actual[k]) if actual[k] else None,
            precision=float(right[k] / given[k]) if given[k] else None,
        )
        for k, name in enumerate(classes)
    )


def most_confused(matrix: np.ndarray, classes: tuple[str, ...], most: int = 10) -> tuple[Confusion, ...]:
    """List the pairs of classes with the most confusions, most first, those without any left out."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(cell), len(classes)) for cell in order]
    return tuple(
        Confusion(
            classes[row],
            classes[column],
            int(wrong[row, column]),
            float(wrong[row, column] / matrix[row].sum()),
        )
        for row, column in pairs
        if wrong[row, column]
    )
