"""`videomae pack`: what would be packed, a progress bar while it packs, a summary when it is done."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from videomae_train.data.encoding import Reencoding
from videomae_train.data.pack_plan import PackOptions, options_for, plan_packing
from videomae_train.data.pack_summary import PackProgress, PackSummary
from videomae_train.data.packing import pack
from videomae_train.data.source_files import source_status
from videomae_train.data.sources import SourceSet

_LINES_SHOWN = 10


def reencoding_of(**given: int | None) -> Reencoding | None:
    """Encode anew if any of the fields of `Reencoding` is given; the others keep their defaults.

    Raises:
        ConfigError: A value that H.264 cannot do.
    """
    values = {name: value for name, value in given.items() if value is not None}
    return Reencoding(**values) if values else None


def run_pack(source: SourceSet, destination: Path, options: PackOptions, *, dry_run: bool) -> None:
    """Pack a source and print what came of it; or only what would.

    Raises:
        ConfigError: The destination holds another set already, or no video can be read.
        ShardError: The disk is full.
        VideoMAETrainError: The disk of the source is in trouble.
    """
    if dry_run:
        _print_plan(source, destination, options)
        return
    summary = pack_with_progress(source, destination, options)
    part = "" if summary.part is None else f" part {summary.part}"
    print_summary(summary, f"Packed{part} into {summary.destination}")


def print_summary(summary: PackSummary, title: str) -> None:
    """Print what a set holds, and what it does not and why."""
    Console().print(_summary_table(summary, title))
    _print_remarks(summary)


def pack_with_progress(source: SourceSet, destination: Path, options: PackOptions) -> PackSummary:
    """Pack under a progress bar on the terminal."""
    bar = Progress(
        TextColumn("[bold]pack"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("videos · {task.fields[rates]} · {task.fields[faults]} faults · left"),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        transient=True,
    )
    started = time.monotonic()
    with bar:
        task = bar.add_task("pack", total=len(source.videos), rates="", faults=0)

        def show(progress: PackProgress) -> None:
            rates = rates_text(progress, time.monotonic() - started)
            bar.update(
                task,
                completed=progress.num_done,
                total=progress.num_total,
                rates=rates,
                faults=progress.num_faults,
            )

        return pack(source, destination, options, show)


def rates_text(progress: PackProgress, elapsed_sec: float) -> str:
    """Say how fast this packing is, without what an earlier one has left finished.

    >>> rates_text(PackProgress(30, 40, 9_000_000, 0, num_kept=10, num_kept_bytes=1_000_000), 4.0)
    '5.0 videos/s · 2.0 MB/s'
    """
    elapsed_sec = max(elapsed_sec, 1e-9)
    videos = (progress.num_done - progress.num_kept) / elapsed_sec
    megabytes = (progress.num_bytes - progress.num_kept_bytes) / elapsed_sec / 1e6
    return f"{videos:.1f} videos/s · {megabytes:.1f} MB/s"


def _print_plan(source: SourceSet, destination: Path, options: PackOptions) -> None:
    options = options_for(source, options)
    plan = plan_packing(source, options)
    numbers = plan.shard_numbers(options.part)
    videos = [video for number in numbers for video in plan.shards[number]]
    missing = [video for video in videos if source_status(video.path) is None]
    splits = Counter(f"{split}/{part}" for video in videos for split, part in video.splits.items())
    num_bytes = sum(plan.shard_bytes[number] for number in numbers)
    rows = {
        "layout": source.layout,
        "part": str(options.part or "all"),
        "videos": f"{len(videos)}, {len(missing)} of them missing",
        "classes": _classes_text(source.classes),
        "splits": _splits_text(dict(sorted(splits.items()))),
        "size": f"{num_bytes / 1e6:.1f} MB of source files in {len(numbers)} shard(s)",
        "encoding": _encoding_text(options.reencoding),
    }
    Console().print(_table(f"Would be packed into {destination}", rows))
    _print_notes(source.notes)
    _print_some([f"missing: {video.name}" for video in missing], "missing")


def _encoding_text(reencoding: Reencoding | None) -> str:
    if reencoding is None:
        return "none, bytes stay as they are"
    side = "sizes stay" if reencoding.short_side is None else f"short side at most {reencoding.short_side}"
    return f"H.264, {side}, a keyframe every {reencoding.keyframe_interval} frames, crf {reencoding.crf}"


def _summary_table(summary: PackSummary, title: str) -> Table:
    rows = {
        "videos": f"{summary.num_videos}",
        "classes": _classes_text(summary.classes),
        "length": f"{summary.duration_sec:.0f} s, {summary.num_frames} frames",
        "size": f"{summary.num_bytes / 1e6:.1f} MB in {len(summary.shards)} shard(s)",
        "splits": _splits_text(summary.splits),
        "faults": f"{len(summary.faults)}",
        "took": f"{summary.elapsed_sec:.1f} s",
    }
    if summary.part is None:
        return _table(title, rows | {"fingerprint": summary.fingerprint})
    todo = "the same command without --part completes the set, once all parts are done"
    return _table(title, rows | {"next": todo})


def _table(title: str, rows: dict[str, str]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in rows.items():
        table.add_row(name, escape(value))
    return table


def _classes_text(classes: tuple[str, ...]) -> str:
    return f"{len(classes)}: {_shortened(classes)}" if classes else "none"


def _splits_text(splits: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in splits.items()) or "none"


def _shortened(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")


def _print_remarks(summary: PackSummary) -> None:
    _print_notes(summary.notes)
    where_all_are = "in faults.json" if summary.part is None else "in faults.json once the set is complete"
    _print_some([f"left out: {fault.name}: {fault.cause}" for fault in summary.faults], where_all_are)


def _print_notes(notes: tuple[str, ...]) -> None:
    for note in notes:
        _print(f"note: {note}")


def _print_some(lines: list[str], where_all_are: str) -> None:
    for line in lines[:_LINES_SHOWN]:
        _print(line)
    if len(lines) > _LINES_SHOWN:
        _print(f"... and {len(lines) - _LINES_SHOWN} more {where_all_are}")


def _print(line: str) -> None:
    Console(soft_wrap=True, highlight=False).print(line, markup=False)
