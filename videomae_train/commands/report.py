"""`videomae report`: one page about runs, points and sweeps, in whatever state they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from errno import EISDIR
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from rich.console import Console

from videomae_train.errors import ConfigError, VideoMAETrainError
from videomae_train.reporting import write_report
from videomae_train.reporting.comparing import asked_ratio_of, is_masked, masking_of
from videomae_train.reporting.facts import Point
from videomae_train.reporting.finding import Found, find_points
from videomae_train.reporting.runs_page import compose_report, file_stem, summary_of


@dataclass(frozen=True)
class ReportOptions:
    """What the command line says beside the folders.

    Attributes:
        out: The page; its figures go to a folder of its name beside it.
        title: Of the page; None names the folders.
        data: Packed set that frames of scored videos are taken from; None takes the one that each score names.
        video: A video that every pretrained model reconstructs at its own masking ratio; None takes what runs pictured.
    """

    out: Path
    title: str | None
    data: str | None
    video: Path | None


def run_report(folders: Sequence[Path], options: ReportOptions) -> None:
    """Write the page and its figures, and say what came out.

    Raises:
        ConfigError: A folder holds no run, or the page cannot be written there.
    """
    if options.out.suffix != ".html":
        raise ConfigError(
            where="--out", came=str(options.out), expected="a file that ends in .html",
            todo=f"Give --out {options.out / 'report.html'} or the like.",
        )  # fmt: skip
    _check_writable(options.out)
    _check_there("--video", options.video)
    _check_there("--data", options.data)
    now = datetime.now(UTC)
    found = find_points(folders, now)
    figures = options.out.with_suffix("").with_name(f"{options.out.stem}-figures")
    with TemporaryDirectory() as scratch:
        loops, notes = _reconstruct(found, options.video, Path(scratch))
        _clear(figures)
        report = compose_report(
            found,
            title=options.title or f"Report on {', '.join(folder.resolve().name for folder in folders)}",
            figures=figures,
            loops=loops,
            data=options.data,
            notes=notes,
            now=now,
        )
        write_report(options.out, report)
    _say(found, notes, options.out, figures)


def _check_writable(page: Path) -> None:
    """Refuse a page that cannot be written, before the work for it."""
    try:
        if page.is_dir():
            raise IsADirectoryError(EISDIR, "a folder of this name is there")
        page.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=page.parent):
            pass
    except OSError as error:
        raise ConfigError(
            where="--out", came=f"{page}: {error.strerror}", expected="a page that can be written",
            todo="Give another --out.",
        ) from error  # fmt: skip


def _check_there(option: str, place: str | Path | None) -> None:
    if place is not None and "://" not in str(place) and not Path(place).exists():
        raise ConfigError(
            where=option, came=f"{place}, which is not there", expected="what is there",
            todo="Correct its path, or leave it out.",
        )  # fmt: skip


def _clear(figures: Path) -> None:
    """Remove the figures of an earlier page, and nothing else that somebody may keep there."""
    for file in figures.glob("*.png"):
        file.unlink()


def _reconstruct(found: Found, video: Path | None, scratch: Path) -> tuple[dict[str, Path], list[str]]:
    """Let a pretrained model of each mask reconstruct one video; say which could not."""
    if video is None:
        return {}, []
    from videomae_train.config.reconstruct import (
        picture_clip,
        read_clip,
    )  # torch, which other pages do without
    from videomae_train.model import load_pretraining_model

    loops: dict[str, Path] = {}
    notes: list[str] = []
    masks: set[tuple[str, float]] = set()  # of which the page shows one run each
    for point in found.points:
        if point.pretraining is None or not is_masked(point) or masking_of(point) in masks:
            continue
        try:
            model = load_pretraining_model(point.pretraining.folder / "weights").eval()
            kind, _ = masking_of(point)
            clip = read_clip(video, model.config, stride=_stride(point), start=0)
            pictures = picture_clip(
                model, clip, folder=scratch / file_stem(point.name), mask=kind, ratios=(asked_ratio_of(point),), seed=0,
                original_statistics=False, title="",
            )  # fmt: skip
            loops[point.name] = pictures.mp4
            masks.add(masking_of(point))
        except VideoMAETrainError as error:
            notes.append(f"{point.name}: {video.name} could not be reconstructed: {error}")
    return loops, notes


def _stride(point: Point) -> int:
    """Give the pace of a point's pretraining, in frames; of several sets with paces of their own, none is right."""
    stride = point.pretraining.config.get("data", {}).get("stride") if point.pretraining else None
    return stride if isinstance(stride, int) else 1


def _say(found: Found, notes: Sequence[str], page: Path, figures: Path) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for note in [*(f"{problem}." for problem in found.problems), *notes]:
        console.print(note, markup=False)
    for sentence in summary_of(found):
        console.print(sentence, markup=False)
    for folder in found.passed_by:
        console.print(f"Passed by, no run: {folder}", markup=False)
    also = f", its figures in {figures}" if figures.is_dir() else ""
    console.print(f"Page: {page}{also}", markup=False)
