"""Figures of numbers: a loss over steps, scores beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from videomae_train.errors import ConfigError
from videomae_train.pictures import style

Interval = tuple[float, float]


def loss_curve(
    path: Path,
    steps: Sequence[int],
    losses: Sequence[float],
    baselines: Mapping[str, float] | None = None,
    *,
    title: str = "",
    ylabel: str = "loss",
) -> None:
    """Draw a loss over optimizer steps, with the levels that it has to beat.

    Args:
        path: PNG to write.
        steps: Optimizer steps, ascending.
        losses: One per step; what is not finite leaves a gap.
        baselines: Name and loss of predictions that need no model.
        title: Above the figure.
        ylabel: Name of the loss.

    Raises:
        ConfigError: No step at all, or another number of losses.
    """
    if not len(steps) or len(steps) != len(losses):
        raise ConfigError(
            where=str(path),
            came=f"{len(steps)} steps and {len(losses)} losses",
            expected="one loss for each step, at least one",
            todo="Let the run record a step before drawing it.",
        )
    x, y, levels = np.asarray(steps), np.asarray(losses, dtype=float), dict(baselines or {})
    smooth = running_median(y, window=max(1, len(y) // 40))
    with style.figure_style():
        figure = Figure(figsize=(7.2, 3.8), dpi=style.DOTS_PER_INCH, layout="constrained")
        axes = figure.add_subplot(title=title, xlabel="optimizer step", ylabel=ylabel)
        axes.plot(x, y, color=style.BLUE, alpha=0.25, linewidth=1.0, marker="o" if len(x) == 1 else "")
        axes.plot(x, smooth, color=style.BLUE)
        _draw_levels(axes, levels)
        _limit(axes, x, y, smooth, list(levels.values()))
        _label_last(axes, x, smooth)
        style.save_figure(figure, path)


def running_median(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Take the median of a centred window of about the given length; a single spike does not move it.

    The window is shorter at the ends. What is not finite is left out, and stays a gap where nothing else is
    near.

    >>> running_median(np.array([0.0, 9.0, 2.0, np.nan]), window=2).tolist()
    [4.5, 2.0, 5.5, 2.0]
    """
    half = window // 2
    finite = np.where(np.isfinite(values), values, np.nan)
    windows = (finite[max(0, place - half) : place + half + 1] for place in range(len(values)))
    kept = (part[np.isfinite(part)] for part in windows)
    return np.array([np.median(part) if part.size else np.nan for part in kept])


def score_bars(
    path: Path,
    scores: Mapping[str, tuple[float, Interval | None]],
    chance: float | None,
    *,
    title: str = "",
    xlabel: str = "top-1 accuracy",
) -> None:
    """Draw scores as bars from 0 to 1, with their intervals and the level of guessing.

    Args:
        path: PNG to write.
        scores: Name to (score, (low, high) or None), in [0, 1]; drawn from top to bottom in this order.
        chance: Score of guessing; None leaves the line out.
        title: Above the figure.
        xlabel: Name of the score.

    Raises:
        ConfigError: No score at all, or one outside [0, 1].
    """
    if not scores or not all(0 <= score <= 1 for score, _ in scores.values()):
        raise ConfigError(
            where=str(path),
            came=f"scores { ({name: score for name, (score, _) in scores.items()}) }",
            expected="at least one, all in [0, 1]",
            todo="Divide percentages by 100.",
        )
    with style.figure_style():
        figure = Figure(
            figsize=(7.2, 1.3 + 0.55 * len(scores)), dpi=style.DOTS_PER_INCH, layout="constrained"
        )
        axes = figure.add_subplot(title=title, xlabel=xlabel, xlim=(0, 1))
        for row, (name, (score, interval)) in enumerate(scores.items()):
            _draw_bar(axes, row, score, interval, style.BLUE if row == 0 else style.MUTED)
            axes.text(-0.012, row, name, ha="right", va="center")
        if chance is not None:
            axes.axvline(chance, color=style.ORANGE, linestyle=(0, (4, 3)), linewidth=1.4)
            axes.text(
                chance + 0.008, len(scores) - 0.42, f"chance {chance:.2f}", color=style.ORANGE, fontsize=9
            )
        axes.set_ylim(len(scores) - 0.3, -0.5)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(axis="y", visible=False)
        style.save_figure(figure, path)


def _draw_bar(axes: Axes, row: int, score: float, interval: Interval | None, colour: str) -> None:
    axes.barh(row, score, height=0.56, color=colour)
    right = score
    if interval is not None:
        low, high = interval
        right = max(score, high)
        axes.plot([low, high], [row, row], color=style.INK, linewidth=1.4, solid_capstyle="butt")
        axes.plot([low, high], [row, row], color=style.INK, linestyle="", marker="|", markersize=7)
    axes.text(right + 0.014, row, f"{score:.3f}", va="center", fontweight="bold", clip_on=False)


def _draw_levels(axes: Axes, levels: Mapping[str, float]) -> None:
    for (name, level), colour in zip(
        levels.items(), [style.ORANGE, style.GREEN, style.PURPLE] * len(levels), strict=False
    ):
        axes.axhline(level, color=colour, linestyle=(0, (4, 3)), linewidth=1.4)
        axes.annotate(
            f"{name}: {level:.3f}",
            (1.0, level),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 3),
            textcoords="offset points",
            ha="right",
            va="bottom",
            color=colour,
            fontsize=9,
        )


def _limit(axes: Axes, x: NDArray[np.int64], raw: NDArray[np.float64], *lines: object) -> None:
    """Show every level and the whole smooth line, but let single spikes of the raw line leave the figure."""
    finite = raw[np.isfinite(raw)]
    shown = np.concatenate([np.ravel(np.asarray(line, dtype=float)) for line in lines])
    shown = shown[np.isfinite(shown)]
    if finite.size:
        shown = np.append(shown, np.percentile(finite, [0.5, 99.5]))
    if shown.size:
        low, high = shown.min(), shown.max()
        margin = 0.08 * (high - low) or 0.1
        axes.set_ylim(low - margin, high + 1.5 * margin)
    if len(x) > 1:
        axes.set_xlim(x[0], x[-1])


def _label_last(axes: Axes, x: NDArray[np.int64], smooth: NDArray[np.float64]) -> None:
    last = np.flatnonzero(np.isfinite(smooth))
    if last.size:
        axes.annotate(
            f"{smooth[last[-1]]:.3f}",
            (x[last[-1]], smooth[last[-1]]),
            xytext=(-2, 8),
            textcoords="offset points",
            ha="right",
            color=style.BLUE,
            fontweight="bold",
        )
