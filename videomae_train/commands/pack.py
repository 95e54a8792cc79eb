"""`videomae pack`: a progress bar while it packs, a summary when it is done."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from videomae_train.data.pack_summary import PackProgress, PackSummary
from videomae_train.data.packing import PackOptions, pack
from videomae_train.data.sources import SourceSet, open_source

_FAULTS_SHOWN = 10


def run_pack(source: Path, destination: Path, *, splits: Path | None, options: PackOptions) -> PackSummary:
    """Pack a source and print what came of it.

    Raises:
        ConfigError: The source has no videos, or the destination holds a set already.
    """
    videos = open_source(source, splits=splits)
    summary = pack_with_progress(videos, destination, options)
    Console().print(_summary_table(summary))
    _print_remarks(summary)
    return summary


def pack_with_progress(source: SourceSet, destination: Path, options: PackOptions) -> PackSummary:
    """Pack under a progress bar on the terminal."""
    bar = Progress(
        TextColumn("[bold]pack"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("videos · {task.fields[megabytes]:.1f} MB · {task.fields[faults]} faults · left"),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        transient=True,
    )
    with bar:
        task = bar.add_task("pack", total=len(source.videos), megabytes=0.0, faults=0)

        def show(progress: PackProgress) -> None:
            bar.update(
                task,
                completed=progress.num_done,
                megabytes=progress.num_bytes / 1e6,
                faults=progress.num_faults,
            )

        return pack(source, destination, options, show)


def _summary_table(summary: PackSummary) -> Table:
    table = Table(title=f"Packed into {summary.destination}", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    rows = {
        "videos": f"{summary.num_videos}",
        "classes": f"{len(summary.classes)}: {_shortened(summary.classes)}" if summary.classes else "none",
        "length": f"{summary.duration_sec:.0f} s, {summary.num_frames} frames",
        "size": f"{summary.num_bytes / 1e6:.1f} MB in {len(summary.shards)} shard(s)",
        "splits": ", ".join(f"{name} {count}" for name, count in summary.splits.items()) or "none",
        "faults": f"{len(summary.faults)}",
        "took": f"{summary.elapsed_sec:.1f} s, {summary.num_videos / max(summary.elapsed_sec, 1e-9):.0f} videos/s",
        "fingerprint": summary.fingerprint,
    }
    for name, value in rows.items():
        table.add_row(name, escape(value))
    return table


def _shortened(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")


def _print_remarks(summary: PackSummary) -> None:
    console = Console(soft_wrap=True, highlight=False)
    for note in summary.notes:
        console.print(f"note: {note}", markup=False)
    for fault in summary.faults[:_FAULTS_SHOWN]:
        console.print(f"left out: {fault.name}: {fault.cause}", markup=False)
    if len(summary.faults) > _FAULTS_SHOWN:
        console.print(f"... and {len(summary.faults) - _FAULTS_SHOWN} more, all in faults.json", markup=False)
