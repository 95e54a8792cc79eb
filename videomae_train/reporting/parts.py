"""What a page is made of. All texts are plain: whatever looks like HTML is shown as typed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

Tone = Literal["error", "warning", "note", "good", ""]


class Score(NamedTuple):
    """One row of a table of scores.

    Attributes:
        name: What was scored.
        value: Usually in [0, 1].
        interval: Low and high end, or None where none was computed.
        conditions: What the score stands on: videos, views, seeds, split.
    """

    name: str
    value: float
    interval: tuple[float, float] | None = None
    conditions: str = ""


class Remark(NamedTuple):
    """One thing that the reader should know or do.

    Attributes:
        kind: How much it matters; it colours the remark.
        text: What was found.
        todo: What to do about it; may be empty.
        details: Names and the like, folded away; the longest lists are cut by the caller.
    """

    kind: Literal["error", "warning", "note"]
    text: str
    todo: str = ""
    details: tuple[str, ...] = ()


class Setting(NamedTuple):
    """One row of a table of settings.

    Attributes:
        name: Dotted key.
        value: As the reader would write it.
    """

    name: str
    value: str


class Command(NamedTuple):
    """How to do something again, or next.

    Attributes:
        purpose: What it does.
        line: What to type.
    """

    purpose: str
    line: str


class Cell(NamedTuple):
    """A cell of a table that is more than its text.

    Attributes:
        text: What is shown.
        order: What a table that sorts goes by; None for a cell without a value, which always comes last. A number that
            is not finite is no value.
        tone: Colours the text.
        is_number: Whether it stands flush right, digit under digit.
    """

    text: str
    order: float | str | None
    tone: Tone = ""
    is_number: bool = False


@dataclass(frozen=True)
class Scores:
    """A table of scores with bars."""

    rows: tuple[Score, ...]
    template: ClassVar = "scores"


@dataclass(frozen=True)
class Remarks:
    """Remarks below each other, the most important first."""

    rows: tuple[Remark, ...]
    template: ClassVar = "remarks"


@dataclass(frozen=True)
class Settings:
    """A table of settings."""

    rows: tuple[Setting, ...]
    template: ClassVar = "settings"


@dataclass(frozen=True)
class Commands:
    """Commands below each other."""

    rows: tuple[Command, ...]
    template: ClassVar = "commands"


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        columns: Headings; all empty leaves the row of headings out.
        rows: As many cells each as there are columns; the first names the row.
        caption: Says how to read it; may be empty.
        sorts: Whether a click on a heading sorts the rows.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str | Cell, ...], ...]
    caption: str = ""
    sorts: bool = False
    template: ClassVar = "table"

    @property
    def cells(self) -> tuple[tuple[Cell, ...], ...]:
        """The rows, every cell a `Cell` whose order is a text, a finite number or None; plain texts sort as texts."""
        return tuple(tuple(map(_sortable, row)) for row in self.rows)


def _sortable(cell: str | Cell) -> Cell:
    if not isinstance(cell, Cell):
        return Cell(cell, cell or None)
    is_no_value = isinstance(cell.order, float) and not math.isfinite(cell.order)
    return cell._replace(order=None) if is_no_value else cell


@dataclass(frozen=True)
class Figure:
    """One picture.

    Attributes:
        title: Short.
        caption: Says how to read it.
        picture: PNG, GIF, WebP or mp4, as bytes or as a file that is read when the page is written.
        words: What it shows, for those who do not see it; the title where empty.
    """

    title: str
    caption: str
    picture: bytes | Path
    words: str = ""
    template: ClassVar = "figure"


@dataclass(frozen=True)
class Gallery:
    """Pictures of one kind beside each other, as many in a row as fit.

    Attributes:
        pictures: Each with a title and a short caption.
        caption: Says how to read them.
        width: Of a picture, in pixels of the page.
    """

    pictures: tuple[Figure, ...]
    caption: str = ""
    width: int = 160
    template: ClassVar = "gallery"


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    words: str
    template: ClassVar = "text"


Part = Scores | Remarks | Settings | Commands | Table | Figure | Gallery | Text


@dataclass(frozen=True)
class Section:
    """Parts under one heading.

    Attributes:
        title: Short; names the section in the list of contents too.
        parts: In order; a section without any leaves nothing on the page.
        fold: Whether the parts are folded away until a click; None where they cannot be.
        note: Stands beside the title, such as a state.
        tone: Colours the note.
    """

    title: str
    parts: tuple[Part, ...]
    fold: bool | None = None
    note: str = ""
    tone: Tone = ""


@dataclass(frozen=True)
class Report:
    """What a page says.

    Attributes:
        title: Of the page.
        summary: Sentences that say what came out; the first is set larger.
        sections: In order.
        footer: Closing line: when, where, by which version.
    """

    title: str
    summary: tuple[str, ...]
    sections: tuple[Section, ...] = ()
    footer: str = ""
