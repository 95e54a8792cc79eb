"""`videomae check`: a look into every video, findings on the terminal, a page and a JSON file."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from videomae_train.commands.check_report import describe, verdict, write_check_json, write_check_page
from videomae_train.data.health import ClipShape, Finding, Severity, diagnose, measure_set
from videomae_train.data.index import PackedDataset
from videomae_train.data.inspection import (
    InspectedSet,
    InspectedVideo,
    inspected_packed,
    inspected_source,
)
from videomae_train.data.layout import DESCRIPTION_FILE, FAULTS_FILE
from videomae_train.data.locations import Location
from videomae_train.data.sources import SourceSet, open_source
from videomae_train.errors import ConfigError, ShardError, VideoMAETrainError

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}
_NAMES_SHOWN = 3


@dataclass(frozen=True)
class CheckOptions:
    """How a set is checked.

    Attributes:
        splits: Folder of lists, for a folder of videos.
        unlabelled: Folder names are no classes.
        frames_fps: Rate of folders of frames.
        clip: The clips that will be taken.
        quick: Read and compare checksums only, without decoding.
        processes: Children at a time.
        timeout_sec: A video that takes longer has a fault.
        json_file: Where the JSON file goes; None is check-<name>/check.json.
        page: Where the page goes; None is check-<name>/report.html.
    """

    splits: Path | None
    unlabelled: bool
    frames_fps: float | None
    clip: ClipShape
    quick: bool
    processes: int
    timeout_sec: float
    json_file: Path | None
    page: Path | None


def run_check(source: str | Path, options: CheckOptions) -> None:
    """Check a packed set, here or behind a URL, a folder of videos or a list, and say what was found.

    Raises:
        ConfigError: There is nothing to check.
        VideoMAETrainError: The set cannot be trained on; the message says why.
    """
    place = Location.of(source)
    inspected, findings = _examine(place, options)
    folder = Path(f"check-{place.address.rsplit('/', 1)[-1]}")
    page, json_file = options.page or folder / "report.html", options.json_file or folder / "check.json"
    write_check_json(json_file, inspected, findings, options.clip)
    write_check_page(page, inspected, findings, options.clip)
    _print_findings(inspected, findings)
    _print(f"page: {page} · every video: {json_file}")
    if errors := [finding for finding in findings if finding.severity == Severity.ERROR]:
        raise VideoMAETrainError(
            where=str(source),
            came="cannot be trained on: " + " ".join(error.text for error in errors).rstrip("."),
            expected="a set without errors",
            todo=errors[0].todo,
        )


def _examine(place: Location, options: CheckOptions) -> tuple[InspectedSet, list[Finding]]:
    if not place.is_remote and not (place.path / DESCRIPTION_FILE).is_file():
        inspected = _inspect_source(place.path, options)
        return inspected, diagnose(inspected, options.clip)
    try:
        dataset = PackedDataset.open(place)
    except ShardError as error:
        nothing = InspectedSet(str(place), is_packed=True, is_decoded=False, classes=(), videos=())
        return nothing, [Finding("damaged-set", Severity.ERROR, f"{error.where}: {error.came}.", error.todo)]
    inspected = _inspect_packed(place, dataset, options)
    return inspected, diagnose(inspected, options.clip)


def _inspect_packed(place: Location, dataset: PackedDataset, options: CheckOptions) -> InspectedSet:
    with inspected_packed(
        dataset, decode=not options.quick, processes=options.processes, timeout_sec=options.timeout_sec
    ) as videos:
        seen = tuple(_with_progress(videos, dataset.num_videos))
    left_out = () if place.is_remote else _left_out(place.path)
    return InspectedSet(str(place), True, not options.quick, dataset.classes, seen, left_out)


def _left_out(path: Path) -> tuple[str, ...]:
    """Say what packing left out of a set; nothing where that was not recorded."""
    file = path / FAULTS_FILE
    faults = json.loads(file.read_text(encoding="utf-8"))["faults"] if file.is_file() else []
    causes = Counter(fault["cause"] for fault in faults).most_common()
    words = ", ".join(f"{count} {cause}" for cause, count in causes)
    return (
        f"{len(faults)} videos were left out when the set was packed ({words}); {file} names them",
    ) * bool(faults)


def _inspect_source(path: Path, options: CheckOptions) -> InspectedSet:
    source = _open_source(path, options)
    with inspected_source(
        source, decode=not options.quick, processes=options.processes, timeout_sec=options.timeout_sec
    ) as videos:
        seen = tuple(_with_progress(videos, len(source.videos)))
    return InspectedSet(str(path), False, not options.quick, source.classes, seen, source.notes)


def _open_source(path: Path, options: CheckOptions) -> SourceSet:
    if path.is_dir() and any(path.glob("shard-*.tar")):
        raise ConfigError(
            where=str(path),
            came=f"shards without {DESCRIPTION_FILE}: an unfinished set",
            expected="a packed set, a folder of videos or a list",
            todo="Run the same `videomae pack` command again; it continues.",
        )
    return open_source(
        path, splits=options.splits, unlabelled=options.unlabelled, frames_fps=options.frames_fps
    )


def _with_progress(videos: Iterator[InspectedVideo], num_videos: int) -> Iterator[InspectedVideo]:
    """Pass videos on under a progress bar."""
    started, faults = time.monotonic(), 0
    with _progress_bar() as bar:
        task = bar.add_task("check", total=num_videos, rate="", faults=0)
        for number, video in enumerate(videos, start=1):
            faults += bool(video.cause)
            rate = f"{number / max(time.monotonic() - started, 1e-9):.1f} videos/s"
            bar.update(task, completed=number, rate=rate, faults=faults)
            yield video


@contextmanager
def _progress_bar() -> Generator[Progress]:
    columns = (
        TextColumn("[bold]check"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("videos · {task.fields[rate]} · {task.fields[faults]} faults · left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        yield bar


def _print_findings(inspected: InspectedSet, findings: list[Finding]) -> None:
    table = Table(title=f"{inspected.name}", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in describe(measure_set(inspected)).items():
        table.add_row(name, escape(value))
    Console().print(table)
    for finding in findings:
        _print(f"{finding.severity.upper()} {finding.name}: {finding.text}", _STYLES[finding.severity])
        for line in (*_some(finding.videos), *([f"-> {finding.todo}"] if finding.todo else [])):
            _print(f"    {line}")
    _print(verdict(findings), "bold")


def _some(names: tuple[str, ...]) -> list[str]:
    more = [f"... and {len(names) - _NAMES_SHOWN} more"] if len(names) > _NAMES_SHOWN else []
    return [*names[:_NAMES_SHOWN], *more]


def _print(line: str, look: str | None = None) -> None:
    Console(soft_wrap=True, highlight=False).print(line, markup=False, style=look)
