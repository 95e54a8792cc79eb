"""Figures that compare: curves over each other, scores over a setting, scores over what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from videomae_train.errors import ConfigError
from videomae_train.pictures import style
from videomae_train.pictures.marks import (
    Interval,
    Look,
    PlacedScore,
    draw_legend,
    draw_levels,
    draw_scores,
    looks_of,
)

_COLUMNS = 3


class Line(NamedTuple):
    """One curve.

    Attributes:
        name: For the legend; lines of one name share a colour and one entry there, empty leaves it out.
        x: (n,), ascending.
        y: (n,); what is not finite leaves a gap.
    """

    name: str
    x: ArrayLike
    y: ArrayLike


class CurvePanel(NamedTuple):
    """One panel of curves.

    Attributes:
        title: Short.
        ylabel: What is drawn, with its unit.
        lines: At least one.
        levels: Name and height of levels to compare with, drawn dashed.
    """

    title: str
    ylabel: str
    lines: Sequence[Line]
    levels: Mapping[str, float] = {}


def curve_panels(path: Path, panels: Sequence[CurvePanel], *, xlabel: str = "optimizer step") -> None:
    """Draw panels of curves, up to three in a row.

    Args:
        path: PNG to write.
        panels: At least one; a single one is drawn large.
        xlabel: Below every panel.

    Raises:
        ConfigError: No panel, or one without lines.
    """
    if not panels or not all(panel.lines for panel in panels):
        raise _nothing_to_draw(path)
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    with style.figure_style():
        height = 3.9 if columns == 1 else 2.9 * rows
        figure = Figure(figsize=(9.6, height), dpi=style.DOTS_PER_INCH, layout="constrained")
        for number, panel in enumerate(panels):
            axes = figure.add_subplot(rows, columns, number + 1, xlabel=xlabel, ylabel=panel.ylabel)
            axes.set_title(panel.title, fontsize=10 if columns > 1 else 12)
            _draw_lines(axes, panel, columns)
        style.save_drawing(figure, path)


def _draw_lines(axes: Axes, panel: CurvePanel, columns: int) -> None:
    looks = looks_of([line.name for line in panel.lines])
    for line in panel.lines:
        colour, dashes, _ = looks[line.name]
        x, y = np.asarray(line.x), np.asarray(line.y, dtype=float)
        marker = "o" if np.isfinite(y).sum() <= 12 else ""
        axes.plot(x, y, color=colour, linestyle=dashes, linewidth=1.5, marker=marker, markersize=3.5)
    draw_levels(axes, panel.levels)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    draw_legend(axes, [name for name in looks if name], marked=False, columns=columns)


def scores_by_ratio(
    path: Path,
    lines: Mapping[str, Sequence[PlacedScore]],
    levels: Mapping[str, float],
    *,
    ylabel: str = "top-1 accuracy",
) -> None:
    """Draw a score over the masking ratio, a line for each kind of mask, with intervals.

    Filled marks are means over seeds, hollow ones single runs. Neighbours are joined by a line where both stand on
    several seeds, and by dots where one does not, since a single run may lie anywhere in its seeds' spread.

    Args:
        path: PNG to write.
        lines: Name -> its scores, in any order; at least one.
        levels: Name and height of levels to compare with, such as chance.
        ylabel: What is drawn.

    Raises:
        ConfigError: No score.
    """
    if not any(lines.values()):
        raise _nothing_to_draw(path)
    with style.figure_style():
        figure = Figure(figsize=(9.6, 4.2), dpi=style.DOTS_PER_INCH, layout="constrained")
        axes = figure.add_subplot(xlabel="masking ratio (share of tokens hidden)", ylabel=ylabel)
        looks = looks_of(list(lines))
        width = 0.012 * _span([score.place for scores in lines.values() for score in scores])
        for number, (name, scores) in enumerate(lines.items()):
            # Beside each other, so that intervals of two kinds at one ratio do not hide each other.
            draw_scores(axes, sorted(scores), looks[name], (number - (len(lines) - 1) / 2) * width)
        axes.set_xticks(sorted({score.place for scores in lines.values() for score in scores}))
        draw_levels(axes, levels)
        draw_legend(axes, list(lines), marked=True)
        style.save_drawing(figure, path)


def _span(values: Sequence[float]) -> float:
    return max(values) - min(values) or 1.0


class Priced(NamedTuple):
    """A score with what it cost.

    Attributes:
        name: For the legend; equal names share a colour.
        score: In [0, 1].
        interval: 95 %, None without.
        costs: One for each panel; None where it is not known.
    """

    name: str
    score: float
    interval: Interval | None
    costs: tuple[float | None, ...]


def scores_by_cost(
    path: Path, points: Sequence[Priced], costs: Sequence[str], *, ylabel: str = "top-1 accuracy"
) -> None:
    """Draw scores over each of their costs, panels beside each other.

    Args:
        path: PNG to write.
        points: At least one.
        costs: What the costs are, with units; as many as each point has.
        ylabel: What is drawn.

    Raises:
        ConfigError: No point.
    """
    if not points:
        raise _nothing_to_draw(path)
    looks = looks_of([point.name for point in points])
    with style.figure_style():
        layout = ConstrainedLayoutEngine(w_pad=0.1)
        figure = Figure(figsize=(9.6, 3.4), dpi=style.DOTS_PER_INCH, layout=layout)
        first: Axes | None = None
        for number, cost in enumerate(costs):
            axes = figure.add_subplot(1, len(costs), number + 1, xlabel=cost, sharey=first)
            _draw_priced(axes, points, number, looks)
            if first is None:
                first = axes
                axes.set_ylabel(ylabel)
            else:
                axes.tick_params(labelleft=False)
            if number == len(costs) - 1:
                draw_legend(axes, list(looks), marked=True)
        style.save_drawing(figure, path)


def _draw_priced(axes: Axes, points: Sequence[Priced], number: int, looks: Mapping[str, Look]) -> None:
    for point in points:
        x = point.costs[number]
        if x is None:
            continue
        colour, _, marker = looks[point.name]
        if point.interval is not None:
            axes.plot([x, x], point.interval, color=colour, linewidth=1.0, alpha=0.4)
        axes.plot([x], [point.score], color=colour, linestyle="", marker=marker, markersize=6)
    axes.xaxis.set_major_locator(MaxNLocator(4))


def _nothing_to_draw(path: Path) -> ConfigError:
    return ConfigError(
        where=str(path), came="nothing to draw", expected="at least one value",
        todo="Leave the figure out where there is nothing.",
    )  # fmt: skip
