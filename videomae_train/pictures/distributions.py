"""Figures of how things are distributed: histograms side by side, counts as bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from videomae_train.errors import ConfigError
from videomae_train.pictures import style

_COLUMNS = 3
_MAX_BINS = 40
# Beyond so many names they are no longer legible, and the shape of the whole says more.
_MAX_NAMED = 40


class Histogram(NamedTuple):
    """One panel.

    Attributes:
        title: What is counted, with its unit.
        values: At least one.
        mark: A level to compare with, None for none.
        mark_name: What the level is.
    """

    title: str
    values: Sequence[float]
    mark: float | None = None
    mark_name: str = ""


def histogram_panels(path: Path, panels: Sequence[Histogram], *, ylabel: str = "videos") -> None:
    """Draw histograms, three in a row.

    Args:
        path: PNG to write.
        panels: At least one.
        ylabel: What is counted.

    Raises:
        ConfigError: No panel, or one without values.
    """
    if not panels or not all(len(panel.values) for panel in panels):
        raise _nothing_to_draw(path, f"panels of {[len(panel.values) for panel in panels]} values")
    rows = -(-len(panels) // _COLUMNS)
    with style.figure_style():
        layout = ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.08)
        figure = Figure(figsize=(9.6, 2.7 * rows), dpi=style.DOTS_PER_INCH, layout=layout)
        for number, panel in enumerate(panels):
            axes = figure.add_subplot(rows, _COLUMNS, number + 1)
            _draw_histogram(axes, panel)
            if number % _COLUMNS == 0:
                axes.set_ylabel(ylabel)
        style.save_figure(figure, path)


def _draw_histogram(axes: Axes, panel: Histogram) -> None:
    values = np.asarray(panel.values, dtype=float)
    axes.set_title(panel.title, fontsize=10)
    axes.hist(values, bins=_edges(values).tolist(), color=style.BLUE)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="x", visible=False)
    if panel.mark is not None:
        axes.axvline(panel.mark, color=style.ORANGE, linestyle=(0, (4, 3)), linewidth=1.4)
        to_left = panel.mark > np.mean(axes.get_xlim())
        axes.annotate(
            panel.mark_name,
            (panel.mark, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(-4 if to_left else 4, -2),
            textcoords="offset points",
            ha="right" if to_left else "left",
            va="top",
            color=style.ORANGE,
            fontsize=8,
        )


def _edges(values: np.ndarray) -> np.ndarray:
    """Cut the range into bins; equal values become one bar in the middle."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        half = max(abs(low) * 0.02, 0.5)
        return np.linspace(low - 10 * half, high + 10 * half, 22)
    edges = np.histogram_bin_edges(values, "auto")
    return edges if len(edges) <= _MAX_BINS else np.linspace(low, high, _MAX_BINS + 1)


def count_bars(path: Path, counts: Mapping[str, int], *, xlabel: str = "videos", ylabel: str = "") -> None:
    """Draw counts as bars, the largest first; a great many become one sorted outline without names.

    Args:
        path: PNG to write.
        counts: At least one name with its count.
        xlabel: What is counted.
        ylabel: What the names are, for the outline.

    Raises:
        ConfigError: No counts.
    """
    if not counts:
        raise _nothing_to_draw(path, "no counts")
    ordered = dict(sorted(counts.items(), key=lambda item: -item[1]))
    with style.figure_style():
        height = 0.9 + 0.27 * len(ordered) if len(ordered) <= _MAX_NAMED else 3.2
        figure = Figure(figsize=(9.6, height), dpi=style.DOTS_PER_INCH, layout="constrained")
        axes = figure.add_subplot()
        if len(ordered) <= _MAX_NAMED:
            _draw_named(axes, ordered, xlabel)
        else:
            _draw_outline(axes, list(ordered.values()), xlabel, ylabel)
        style.save_figure(figure, path)


def _draw_named(axes: Axes, counts: Mapping[str, int], xlabel: str) -> None:
    places = list(range(len(counts)))
    axes.barh(places, list(counts.values()), height=0.66, color=style.BLUE)
    for place, count in zip(places, counts.values(), strict=True):
        axes.annotate(
            f"{count}", (count, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9
        )
    axes.set_yticks(places, list(counts), color=style.INK)
    axes.set_ylim(len(counts) - 0.4, -0.6)
    axes.set_xlabel(xlabel)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)


def _draw_outline(axes: Axes, counts: Sequence[int], xlabel: str, ylabel: str) -> None:
    axes.fill_between(np.arange(len(counts)), counts, step="mid", color=style.BLUE, alpha=0.85, linewidth=0)
    axes.set_xlabel(f"{ylabel}, the largest first")
    axes.set_ylabel(xlabel)
    axes.set_ylim(bottom=0)
    axes.set_xlim(-0.5, len(counts) - 0.5)


def _nothing_to_draw(path: Path, came: str) -> ConfigError:
    return ConfigError(
        where=str(path),
        came=came,
        expected="something to draw",
        todo="Leave the figure out where there is nothing.",
    )
