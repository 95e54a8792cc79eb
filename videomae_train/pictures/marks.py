"""What figures that compare draw alike: looks of lines, levels, legends, and scores with their intervals."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise, takewhile
from typing import Any, NamedTuple

from matplotlib.axes import Axes

from videomae_train.pictures import style

Interval = tuple[float, float]
Look = tuple[str, Any, str]  # colour, dashes, marker

_MAX_IN_LEGEND = 16
_LONGEST_NAME = 40  # characters; a legend of longer ones would leave the panels no room
_LONGEST_LEVEL = 52  # they are few, and nothing else explains them
_PARTS = re.compile(r"[^+,/ ]*[+,/ ]|[^+,/ ]+$")  # of a name


class PlacedScore(NamedTuple):
    """A score at one place of a line.

    Attributes:
        place: On the x axis, such as a masking ratio.
        score: Mean over the seeds, in [0, 1].
        interval: 95 %, over seeds where there are several, over test videos where there is one; None without.
        num_seeds: How many runs the score stands on.
    """

    place: float
    score: float
    interval: Interval | None
    num_seeds: int


def draw_levels(axes: Axes, levels: Mapping[str, float]) -> None:
    """Draw levels dashed, each in other dashes; the legend names them."""
    for number, (name, level) in enumerate(levels.items()):
        dashes = style.DASHES[1 + number % (len(style.DASHES) - 1)]
        colour = (style.INK, style.MUTED)[number % 2]  # no colour of a line
        axes.axhline(
            level,
            color=colour,
            linestyle=dashes,
            linewidth=1.3,
            label=f"{_cut(name, _LONGEST_LEVEL)}: {level:.3g}",
        )


def draw_legend(axes: Axes, names: Sequence[str], *, marked: bool, columns: int = 1) -> None:
    """Name lines and levels: beside the panel, where nothing is hidden, or inside where there are only levels.

    Of panels beside each other that each have a legend, `columns` says how many: they share the room.
    """
    looks, labels = looks_of(names), short_names(names, _LONGEST_NAME // columns)
    shown = names[:_MAX_IN_LEGEND]
    for name in shown:
        colour, dashes, marker = looks[name]
        axes.plot(
            [],
            [],
            color=colour,
            label=labels[name],
            marker=marker if marked else "",
            linestyle="" if marked else dashes,
        )
    if len(names) > len(shown):
        axes.plot([], [], linestyle="", label=f"and {len(names) - len(shown)} more")
    if names:
        axes.legend(
            loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=8, borderaxespad=0.0
        )
    elif axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper right", fontsize=8, framealpha=0.85, edgecolor="none")


def short_names(names: Sequence[str], longest: int = _LONGEST_NAME) -> dict[str, str]:
    """Shorten names for a legend, where one of them is long: without what all begin with, and cut in the middle.

    >>> list(short_names(["tube 0.9", "random 0.9"]).values())
    ['tube 0.9', 'random 0.9']
    >>> list(short_names([f"experiment-pretrain_vitb_ucf101+optim.base_lr-{rate}" for rate in (1, 2)]).values())
    ['…optim.base_lr-1', '…optim.base_lr-2']
    """
    different = list(dict.fromkeys(names))
    if max(map(len, different), default=0) <= longest:
        return {name: name for name in different}
    start = _length_in_common(different)
    cut = {name: _cut(f"…{name[start:]}" if start else name, longest) for name in different}
    alike = Counter(cut.values())
    return {
        name: short if alike[short] == 1 else f"{short} [{number}]"
        for number, (name, short) in enumerate(cut.items(), start=1)
    }


def _length_in_common(names: Sequence[str]) -> int:
    if len(names) < 2:
        return 0
    beside = zip(*(_PARTS.findall(name) for name in names), strict=False)
    return sum(len(parts[0]) for parts in takewhile(lambda parts: len(set(parts)) == 1, beside))


def _cut(name: str, longest: int) -> str:
    half = (longest - 1) // 2
    return name if len(name) <= longest else f"{name[:half]}…{name[-half:]}"


def looks_of(names: Sequence[str]) -> dict[str, Look]:
    """Give each name a colour, dashes and a marker, which together tell it apart without colours too."""
    looks: dict[str, Look] = {}
    for number, name in enumerate(dict.fromkeys(names)):
        again, place = divmod(number, len(style.PALETTE))
        dashes = style.DASHES[again % len(style.DASHES)]
        # Scores have no dashes: where colours come again, another marker goes with each.
        looks[name] = (style.PALETTE[place], dashes, style.MARKERS[(place + again) % len(style.MARKERS)])
    return looks


def draw_scores(axes: Axes, scores: Sequence[PlacedScore], look: Look, shift: float) -> None:
    """Draw scores in the order of their places: filled means over seeds and hollow single runs, with intervals.

    Neighbours are joined by a line where both stand on several seeds, and by dots where one does not.
    """
    colour, _, marker = look
    for left, right in pairwise(scores):
        sure = min(left.num_seeds, right.num_seeds) > 1
        axes.plot(
            [left.place + shift, right.place + shift], [left.score, right.score], color=colour,
            linestyle="solid" if sure else ":", linewidth=1.8 if sure else 1.2,
        )  # fmt: skip
    for score in scores:
        x = score.place + shift
        if score.interval is not None:
            dashes = "solid" if score.num_seeds > 1 else (0, (2, 1.5))
            axes.plot(
                [x, x], score.interval, color=colour, linestyle=dashes, linewidth=1.4, solid_capstyle="butt"
            )
            axes.plot([x, x], score.interval, color=colour, linestyle="", marker="_", markersize=8)
        face = colour if score.num_seeds > 1 else style.GROUND
        axes.plot([x], [score.score], color=colour, marker=marker, markersize=7, markerfacecolor=face)
