"""The picture of which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from videomae_train.errors import ConfigError
from videomae_train.pictures import style

# Beyond so many classes their names are no longer legible, and beyond so many neither are the counts.
_MAX_NAMED, _MAX_COUNTED = 60, 16


def confusion_picture(path: Path, matrix: np.ndarray, classes: Sequence[str]) -> None:
    """Draw a confusion matrix: rows are the videos' classes, columns the classes they were given.

    A cell is as dark as its share of the row, so that rare classes count as much as common ones. Numbers are videos.

    Args:
        path: PNG to write.
        matrix: int64 (K, K).
        classes: K names.

    Raises:
        ConfigError: The matrix does not fit the names, or counts nothing.
    """
    if matrix.shape != (len(classes), len(classes)) or not matrix.sum():
        raise ConfigError(
            where=str(path),
            came=f"a matrix of shape {matrix.shape} with {matrix.sum()} videos, and {len(classes)} classes",
            expected="a row and a column for each class, and at least one video",
            todo="Draw the matrix of a score.",
        )
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    named = len(classes) <= _MAX_NAMED
    size = min(9.0, 2.4 + 0.34 * len(classes)) if named else 7.5
    with style.figure_style():
        figure = Figure(figsize=(size + 1.2, size), dpi=style.DOTS_PER_INCH, layout="constrained")
        axes = figure.add_subplot(xlabel="given class", ylabel="class of the video")
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        axes.grid(visible=False)
        _name(axes, classes if named else ())
        if len(classes) <= _MAX_COUNTED:
            _count(axes, matrix, shares)
        bar = figure.colorbar(image, ax=axes, shrink=0.8, label="share of the class")
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        style.save_drawing(figure, path)


def _name(axes: Axes, classes: Sequence[str]) -> None:
    places = list(range(len(classes)))
    small = 9 if len(classes) <= 25 else 6
    axes.set_xticks(
        places, list(classes), rotation=90 if len(classes) > 4 else 0, color=style.INK, fontsize=small
    )
    axes.set_yticks(places, list(classes), color=style.INK, fontsize=small)
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def _count(axes: Axes, matrix: np.ndarray, shares: np.ndarray) -> None:
    for row, column in zip(*np.nonzero(matrix), strict=True):
        colour = style.GROUND if shares[row, column] > 0.55 else style.INK
        axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=colour, fontsize=9)
