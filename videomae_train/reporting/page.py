"""One self-contained HTML page about a run, a sweep or a set: no network, no scripts, pictures inside the file."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from videomae_train.errors import ConfigError

_MEDIA_TYPES = {b"\x89PNG\r\n\x1a\n": "image/png", b"GIF87a": "image/gif", b"GIF89a": "image/gif"}


class Score(NamedTuple):
    """One row of the table of scores.

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


class Table(NamedTuple):
    """One table of plain texts.

    Attributes:
        title: Short.
        columns: Headings; all empty leaves the row of headings out.
        rows: As many cells each as there are columns; the first names the row.
        caption: Says how to read it; may be empty.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


class Figure(NamedTuple):
    """One picture.

    Attributes:
        title: Short.
        caption: Says how to read it.
        picture: PNG or GIF, as bytes or as a file that is read when the page is written.
    """

    title: str
    caption: str
    picture: bytes | Path


class Setting(NamedTuple):
    """One row of the table of settings.

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


@dataclass(frozen=True)
class Report:
    """What a page says. All texts are plain: whatever looks like HTML is shown as typed.

    Attributes:
        title: Of the page.
        summary: Sentences that say what came out; the first is set larger.
        remarks: Findings, the most important first; empty leaves the section out, as for all that follow.
        scores: Rows of the table of scores.
        tables: Further tables, in order.
        figures: Pictures, in order.
        settings: Rows of the table of settings.
        commands: Commands to repeat or continue.
        footer: Closing line: when, where, by which version.
    """

    title: str
    summary: tuple[str, ...]
    remarks: tuple[Remark, ...] = ()
    scores: tuple[Score, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    settings: tuple[Setting, ...] = ()
    commands: tuple[Command, ...] = ()
    footer: str = ""


def write_report(path: Path, report: Report) -> None:
    """Write a report as one HTML file that can be mailed, archived and opened anywhere.

    The file appears whole or not at all, so that a page that is rewritten during a run never shows half.

    Args:
        path: Ends in .html; missing folders are made.
        report: What to say.

    Raises:
        ConfigError: A picture is missing or neither PNG nor GIF.
    """
    page = _template().render(report=report, pictures=[_data_uri(figure) for figure in report.figures])
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(page, encoding="utf-8")
    draft.replace(path)


def _data_uri(figure: Figure) -> str:
    """Put a picture into the address of an image."""
    where = f"figure {figure.title!r}"
    try:
        content = figure.picture.read_bytes() if isinstance(figure.picture, Path) else figure.picture
    except OSError as error:
        raise ConfigError(
            where=where,
            came=f"{figure.picture}: {error.strerror}",
            expected="a readable PNG or GIF file",
            todo="Write the picture before the page.",
        ) from error
    for signature, media_type in _MEDIA_TYPES.items():
        if content.startswith(signature):
            return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
    raise ConfigError(
        where=where,
        came=f"{len(content)} bytes that start with {content[:8]!r}",
        expected="a PNG or a GIF",
        todo="Write it with videomae_train.pictures.",
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("videomae_train.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")
