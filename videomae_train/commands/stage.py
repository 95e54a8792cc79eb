"""`videomae stage`: a progress bar while it copies, and the path to use when it is done."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from videomae_train.data.staging import StageProgress, stage


def run_stage(source: str, destination: Path, selections: tuple[str, ...], threads: int) -> None:
    """Copy a set to a disk of this machine and print how much there is and how to use it.

    Raises:
        ConfigError: The destination holds another set, or a selection does not exist.
        ShardError: A shard cannot be read or written.
    """
    bar = Progress(
        TextColumn("[bold]stage"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        transient=True,
    )
    with bar:
        task = bar.add_task("stage", total=None)

        def show(progress: StageProgress) -> None:
            bar.update(task, completed=progress.num_bytes, total=progress.num_total_bytes)

        summary = stage(source, destination, show, selections=selections, threads=threads)
    lines = [
        f"{summary.num_shards} shard(s), {summary.num_bytes / 1e6:.1f} MB, verified; "
        f"{summary.num_kept} of them were there already"
    ]
    if summary.num_left_behind:
        lines.append(
            f"{summary.num_left_behind} shard(s) stay at {source}, where other selections still read them"
        )
    lines.append(f"data.path={summary.destination}")
    console = Console(soft_wrap=True, highlight=False)
    for line in lines:
        console.print(line, markup=False)
