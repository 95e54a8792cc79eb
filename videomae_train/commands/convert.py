"""`videomae convert`: the account of every tensor, and what was written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from videomae_train.errors import ConfigError
from videomae_train.model import Fate, Layout, WeightsReport, convert, push_folder, read_config

_COLOURS = {Fate.PLACED: "green", Fate.DROPPED: "yellow", Fate.FRESH: "cyan"}
_NAMED = 12


@dataclass(frozen=True)
class ConvertOptions:
    """What the command line says beside source and destination.

    Attributes:
        to: Name of the layout.
        allow: Exact names of tensors that may be missing, extra or of another shape.
        encoder_only: Leave decoder and head behind.
        entry: Top-level key of an official file.
        config: Weights whose configuration is the source's too.
        trust_pickle: Load a pickle that may run any code.
        push: Hub repository to upload the folder to.
    """

    to: str
    allow: tuple[str, ...]
    encoder_only: bool
    entry: str | None
    config: str | None
    trust_pickle: bool
    push: str | None


def run_convert(source: str, destination: Path, options: ConvertOptions) -> WeightsReport:
    """Convert, print the report, and upload on demand.

    Raises:
        ConfigError: The layout cannot represent the model, or the destination is in the way.
        CheckpointError: The source is damaged, tensors do not fit, or the hub does not answer.
    """
    layout = Layout(options.to)
    if options.push is not None and layout is not Layout.HF:
        raise ConfigError(
            where="--push",
            came=f"--to {layout}",
            expected="--to hf: the hub takes weights folders",
            todo="Leave --push out, or convert to a folder.",
        )
    report = convert(
        source,
        destination,
        to=layout,
        allow=options.allow,
        encoder_only=options.encoder_only,
        config=None if options.config is None else read_config(options.config),
        entry=options.entry,
        trust_pickle=options.trust_pickle,
    )
    console = Console(highlight=False, soft_wrap=True)
    Console().print(report_table(report))
    for line in _remarks(report):
        console.print(line, markup=False)
    console.print(f"Written ({layout}): {destination}", markup=False)
    if options.push is not None:
        console.print(f"Uploaded: {push_folder(destination, options.push)}", markup=False)
    return report


def report_table(report: WeightsReport) -> Table:
    """Lay the account of every tensor out for a terminal, tensors of one part and fate in one row."""
    table = Table(title=escape(f"Tensors of {report.source}"), title_justify="left")
    for column in ("fate", "tensors", "part", "why"):
        table.add_column(column, justify="right" if column == "tensors" else "left")
    for fate, count, part, why in report.rows():
        table.add_row(f"[{_COLOURS[fate]}]{fate}[/]", str(count), escape(part), escape(why))
    return table


def _remarks(report: WeightsReport) -> list[str]:
    """Name the fresh tensors, which the table only counts, and what is suspicious."""
    fresh = report.names(Fate.FRESH)
    more = f" and {len(fresh) - _NAMED} more" if len(fresh) > _NAMED else ""
    named = [f"Fresh, not from the source: {', '.join(fresh[:_NAMED])}{more}"] if fresh else []
    return [*named, *(f"Suspicious: {finding}" for finding in report.suspicious)]
