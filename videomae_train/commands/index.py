"""`videomae index`: a progress bar while it reads shards, a summary when it is done."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from videomae_train.commands.pack import print_summary
from videomae_train.data.index_plan import IndexOptions
from videomae_train.data.indexing import IndexProgress, index_shards
from videomae_train.errors import ConfigError


def read_classes(file: Path | None) -> tuple[str, ...]:
    """Read class names, one in each line.

    Raises:
        ConfigError: The file cannot be read or names a class twice.
    """
    if file is None:
        return ()
    try:
        names = tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
    except OSError as error:
        raise _no_classes(file, str(error.strerror)) from error
    if len(set(names)) < len(names):
        raise _no_classes(file, "a name twice")
    return names


def _no_classes(file: Path, came: str) -> ConfigError:
    expected = "class names, one in each line, each once"
    return ConfigError(where=f"--classes {file}", came=came, expected=expected, todo="Correct the file.")


def run_index(source: str, destination: Path | None, options: IndexOptions) -> None:
    """Index shards and print what came of it.

    Raises:
        ConfigError: There are no shards, or there is another index already.
        ShardError: A shard cannot be read, or the disk is full.
    """
    bar = Progress(
        TextColumn("[bold]index"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("shards · {task.fields[figures]}"),
        console=Console(file=sys.stderr),
        transient=True,
    )
    started = time.monotonic()
    with bar:
        task = bar.add_task("index", total=None, figures="")

        def show(progress: IndexProgress) -> None:
            figures = figures_text(progress, time.monotonic() - started)
            bar.update(task, completed=progress.num_shards_read, total=progress.num_shards, figures=figures)

        summary = index_shards(source, destination, options, show)
    part = "" if summary.part is None else f" part {summary.part}"
    print_summary(summary, f"Indexed{part} into {summary.destination}")


def figures_text(progress: IndexProgress, elapsed_sec: float) -> str:
    """Say how far indexing is, and how fast without what an earlier one has read.

    >>> figures_text(IndexProgress(1, 4, 40, 10_000_000, 2, num_kept=10, num_kept_bytes=1_000_000), 3.0)
    '40 videos · 10.0 videos/s · 3.0 MB/s · 2 faults'
    """
    elapsed_sec = max(elapsed_sec, 1e-9)
    videos = (progress.num_videos - progress.num_kept) / elapsed_sec
    megabytes = (progress.num_bytes - progress.num_kept_bytes) / elapsed_sec / 1e6
    return f"{progress.num_videos} videos · {videos:.1f} videos/s · {megabytes:.1f} MB/s · {progress.num_faults} faults"
