"""One self-contained HTML page about runs, a sweep or a set: no network, pictures inside the file."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any, cast

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from videomae_train.reporting.media import Inlined, inline_media
from videomae_train.reporting.parts import Figure, Gallery, Part, Report, Table


def write_report(path: Path, report: Report) -> None:
    """Write a report as one HTML file that can be mailed, archived, printed and opened anywhere.

    The file appears whole or not at all, so that a page that is rewritten during a run never shows half. A script
    stands in it only where a table sorts, a video moves or something is folded away; without scripts all is legible.

    Args:
        path: Ends in .html; missing folders are made.
        report: What to say.

    Raises:
        ConfigError: A picture is missing or neither PNG, GIF, WebP nor mp4.
    """
    page = _template().render(report=report, has_script=_wants_script(report))
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(page, encoding="utf-8", errors="surrogateescape")
    draft.replace(path)


def _wants_script(report: Report) -> bool:
    return any(
        section.parts and (section.fold is not None or any(_is_lively(part) for part in section.parts))
        for section in report.sections
    )


def _is_lively(part: Part) -> bool:
    if isinstance(part, Table):
        return part.sorts
    pictures = part.pictures if isinstance(part, Gallery) else (part,) if isinstance(part, Figure) else ()
    return any(_inline(picture).is_video for picture in pictures)


def _inline(figure: Figure) -> Inlined:
    return inline_media(figure.picture, f"figure {figure.title!r}")


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("videomae_train.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inlined"] = cast(Any, _inline)  # jinja2 types the values of its own filters only
    return environment.get_template("report.html.j2")
