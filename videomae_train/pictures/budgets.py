"""Scores over what was spent, sets beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from videomae_train.errors import ConfigError
from videomae_train.pictures import style
from videomae_train.pictures.marks import Look, PlacedScore, draw_levels, draw_scores, looks_of

_SHIFT = 0.07  # of two ticks' distance: intervals of two lines at one budget do not hide each other


def scores_by_budget(
    path: Path,
    panels: Mapping[str, Mapping[str, Sequence[PlacedScore]]],
    ticks: Sequence[str],
    levels: Mapping[str, Mapping[str, float]],
) -> None:
    """Draw a score over budgets, a panel for each set; marks are those of `scores_by_ratio`.

    Args:
        path: PNG to write.
        panels: Set -> line -> its scores, whose places are numbers of ticks; a line is drawn alike in all panels.
        ticks: Name of each budget, ascending.
        levels: Set -> name and height of levels to compare with.

    Raises:
        ConfigError: No score.
    """
    if not any(scores for lines in panels.values() for scores in lines.values()):
        raise ConfigError(
            where=str(path), came="nothing to draw", expected="at least one score",
            todo="Leave the figure out where there is nothing.",
        )  # fmt: skip
    looks = looks_of([name for lines in panels.values() for name in lines])
    with style.figure_style():
        figure = Figure(figsize=(9.6, 3.9), dpi=style.DOTS_PER_INCH, layout="constrained")
        first: Axes | None = None
        for number, (title, lines) in enumerate(panels.items(), start=1):
            axes = figure.add_subplot(1, len(panels), number, title=title, sharey=first)
            first = first or axes
            _draw_panel(axes, lines, ticks, looks)
            draw_levels(axes, levels.get(title, {}))
            if levels.get(title):
                axes.legend(loc="best", fontsize=8, framealpha=0.85, edgecolor="none")
            if axes is first:
                axes.set_ylabel("top-1 accuracy")
        _draw_legend_below(figure, looks)
        style.save_drawing(figure, path)


def _draw_panel(
    axes: Axes, lines: Mapping[str, Sequence[PlacedScore]], ticks: Sequence[str], looks: Mapping[str, Look]
) -> None:
    for number, (name, scores) in enumerate(lines.items()):
        draw_scores(axes, sorted(scores), looks[name], (number - (len(lines) - 1) / 2) * _SHIFT)
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_xlim(-0.5, len(ticks) - 0.5)


def _draw_legend_below(figure: Figure, looks: Mapping[str, Look]) -> None:
    """Name the lines once for all panels; levels are named in theirs."""
    marks = [
        Line2D([], [], color=colour, marker=marker, linestyle="solid", label=name)
        for name, (colour, _, marker) in looks.items()
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
