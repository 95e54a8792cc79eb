"""One look for all figures: light ground, thin lines, Okabe and Ito's colours for colour-blind readers."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

INK = "#1f2430"
MUTED = "#6b7280"
FAINT = "#d9dde3"
GROUND = "#ffffff"
BLUE = "#0072b2"
ORANGE = "#d55e00"
GREEN = "#009e73"
PURPLE = "#a2548b"
# As many lines as one figure tells apart by colour alone; more repeat them with other dashes.
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, "#b07d00", "#3fa0d8", INK)
DASHES: tuple[Any, ...] = ("solid", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DOTS_PER_INCH = 144

_STYLE: dict[Any, Any] = {
    "figure.facecolor": GROUND,
    "axes.facecolor": GROUND,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#edf0f3",
    "grid.linewidth": 1.0,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "text.color": INK,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same picture on every machine
    "font.size": 10,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
}


@contextmanager
def figure_style() -> Generator[None]:
    """Draw in the project's look inside a block; matplotlib's settings are as before after it."""
    with mpl.rc_context(_STYLE):
        yield


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure at its own size as PNG; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=figure.dpi)


def save_drawing(figure: Figure, path: Path) -> None:
    """Write a figure without photographs: as `save_figure`, in a few colours and a third of the bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = BytesIO()
    figure.savefig(file, format="png", dpi=figure.dpi)
    with Image.open(file) as image:
        image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, format="PNG", optimize=True)
