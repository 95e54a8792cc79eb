"""Frames beside each other: what went in, what the model saw, what it made of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from videomae_train.errors import ConfigError
from videomae_train.pictures import style
from videomae_train.pictures.files import Pixels, check_pixels

# Layout of a strip, in pixels.
_LABEL_WIDTH, _MARGIN, _GAP = 250, 24, 6
_HEADING_HEIGHT, _TITLE_HEIGHT, _LINE_HEIGHT = 44, 48, 26
_CELL_GOAL = 128
_BAND_HEIGHT = 26  # of the labels above a moving picture


class FrameRow(NamedTuple):
    """One view of a clip.

    Attributes:
        label: Says what is seen.
        frames: uint8 (T, H, W, 3), RGB.
    """

    label: str
    frames: Pixels


class StripPanel(NamedTuple):
    """Views of a clip that belong together, such as those of one masking ratio.

    Attributes:
        heading: Stands above the rows; may be empty.
        rows: From top to bottom.
    """

    heading: str
    rows: tuple[FrameRow, ...]


def reconstruction_strip(
    path: Path,
    panels: Sequence[StripPanel],
    *,
    title: str = "",
    notes: Sequence[str] = (),
    columns: Sequence[int] | None = None,
) -> None:
    """Write one labelled PNG: a row for each view, a column for each moment.

    Each pixel of a clip becomes a square of whole pixels, so that small clips stay crisp.

    Args:
        path: PNG to write.
        panels: Groups of rows, all of one clip.
        title: Above everything.
        notes: Lines below everything.
        columns: Frames to show; by default up to six, evenly spaced from the first to the last.

    Raises:
        ConfigError: No rows, or rows of different shapes.
    """
    rows = [row for panel in panels for row in panel.rows]
    num_frames, height, width = _common_shape(rows, str(path))
    shown = evenly_spaced(num_frames, 6) if columns is None else tuple(columns)
    scale = max(1, _CELL_GOAL // max(height, width))
    cell = (height * scale, width * scale)
    canvas = _Canvas(
        width=2 * _MARGIN + _LABEL_WIDTH + len(shown) * (cell[1] + _GAP) - _GAP,
        height=2 * _MARGIN
        + (_TITLE_HEIGHT if title else 0)
        + _LINE_HEIGHT * (1 + len(notes))
        + sum(_HEADING_HEIGHT for panel in panels if panel.heading)
        + len(rows) * (cell[0] + _GAP),
    )
    with style.figure_style():
        _draw_strip(canvas, panels, shown, cell, title=title, notes=notes)
        style.save_figure(canvas.figure, path)


def evenly_spaced(num_frames: int, most: int) -> tuple[int, ...]:
    """Choose at most so many frames, the first and the last among them.

    >>> evenly_spaced(16, 4)
    (0, 5, 10, 15)
    """
    return tuple(round(place) for place in np.linspace(0, num_frames - 1, min(most, num_frames)))


def labelled_clip(rows: Sequence[FrameRow]) -> Pixels:
    """Put views of a clip beside each other under their labels, as one moving picture.

    Returns:
        uint8 (T, H', W', 3), upscaled by a whole number.

    Raises:
        ConfigError: No rows, or rows of different shapes.
    """
    _, height, width = _common_shape(rows, "labelled_clip")
    scale = max(1, 224 // max(height, width))
    band, gap = _BAND_HEIGHT, 8
    views = [row.frames.repeat(scale, axis=1).repeat(scale, axis=2) for row in rows]
    num_frames, tall, wide, _ = views[0].shape
    sheet = np.full((num_frames, band + tall, len(rows) * (wide + gap) - gap, 3), 255, np.uint8)
    for number, (row, view) in enumerate(zip(rows, views, strict=True)):
        left = number * (wide + gap)
        sheet[:, band:, left : left + wide] = view
        sheet[:, :band, left : left + wide] = _text_band(row.label, wide, band)
    return sheet


def _text_band(label: str, width: int, height: int) -> Pixels:
    """Draw a label centred on white, smaller where it would not fit: uint8 (height, width, 3)."""
    image = Image.new("RGB", (width, height), style.GROUND)
    draw = ImageDraw.Draw(image)
    size = 15
    while size > 7 and draw.textlength(label, ImageFont.load_default(size)) > width:
        size -= 1
    draw.text((width / 2, height / 2), label, style.INK, ImageFont.load_default(size), anchor="mm")
    return np.asarray(image)


def _common_shape(rows: Sequence[FrameRow], where: str) -> tuple[int, int, int]:
    for row in rows:
        check_pixels(row.frames, ndim=4, where=f"{where}, row {row.label!r}")
    shapes = {row.label: row.frames.shape for row in rows}
    if len(set(shapes.values())) != 1:
        raise ConfigError(
            where=where,
            came=f"rows of shapes {shapes}",
            expected="at least one row, all of one shape",
            todo="Pass views of one clip.",
        )
    num_frames, height, width, _ = rows[0].frames.shape
    return num_frames, height, width


class _Canvas:
    """A figure on which things are placed in pixels, from the top left."""

    def __init__(self, *, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / style.DOTS_PER_INCH, height / style.DOTS_PER_INCH))
        self.figure.set_dpi(style.DOTS_PER_INCH)

    def text(self, x: float, y: float, words: str, **look: Any) -> None:
        self.figure.text(x / self.width, 1 - y / self.height, words, **look)

    def image(self, x: int, y: int, pixels: Pixels, cell: tuple[int, int]) -> None:
        tall, wide = cell
        box = (x / self.width, 1 - (y + tall) / self.height, wide / self.width, tall / self.height)
        axes = self.figure.add_axes(box)
        axes.imshow(pixels, interpolation="nearest", aspect="auto")
        axes.set_axis_off()


def _draw_strip(
    canvas: _Canvas,
    panels: Sequence[StripPanel],
    columns: Sequence[int],
    cell: tuple[int, int],
    *,
    title: str,
    notes: Sequence[str],
) -> None:
    left, y = _MARGIN + _LABEL_WIDTH, _MARGIN
    if title:
        canvas.text(_MARGIN, y + 4, title, va="top", fontsize=11, fontweight="bold")
        y += _TITLE_HEIGHT
    for place, frame in enumerate(columns):
        middle = left + place * (cell[1] + _GAP) + cell[1] / 2
        canvas.text(middle, y, f"frame {frame + 1}", va="top", ha="center", fontsize=8, color=style.MUTED)
    y += _LINE_HEIGHT
    for panel in panels:
        if panel.heading:
            canvas.text(
                _MARGIN, y + 16, panel.heading, va="top", fontsize=9, fontweight="bold", color=style.BLUE
            )
            y += _HEADING_HEIGHT
        for row in panel.rows:
            canvas.text(_MARGIN, y + cell[0] / 2, row.label, va="center", fontsize=9)
            for place, frame in enumerate(columns):
                canvas.image(left + place * (cell[1] + _GAP), y, row.frames[frame], cell)
            y += cell[0] + _GAP
    for number, note in enumerate(notes):
        canvas.text(_MARGIN, y + 10 + number * _LINE_HEIGHT, note, va="top", fontsize=8, color=style.MUTED)
