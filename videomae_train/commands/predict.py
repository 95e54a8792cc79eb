"""`videomae predict`: what a classifier says of video files, as a table, JSON lines or CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from videomae_train.config.devices import pick_device, say_device
from videomae_train.config.scores import describe_views
from videomae_train.errors import ConfigError, TrainingError
from videomae_train.evaluation.memory import naming_full_memory
from videomae_train.evaluation.number_format import PrecisionName
from videomae_train.inference import ClassProbability, Prediction, VideoPredictor, find_videos


@dataclass(frozen=True)
class PredictOptions:
    """What the command line says beside weights and videos; the views as in `inference.published_views`.

    Attributes:
        top_k: Classes named of each video.
        format: "table", "json" (one object a line) or "csv".
        out: File to write; None prints.
        num_clips: Clips of each video; None takes as many as belong to the windows.
        num_crops: Crops of each clip.
        stride: Frames of the video from one frame of a clip to the next; None beside windows=None takes the training's.
        windows: "spread" or "interleaved"; None likewise.
        num_workers: Processes that decode; None chooses.
        batch_videos: Videos in a forward pass.
        timeout_sec: The longest that decoding one video may take.
        accelerator: auto, cpu or gpu.
        precision: Of the matrix products.
    """

    top_k: int
    format: str
    out: Path | None
    num_clips: int | None
    num_crops: int
    stride: int | None
    windows: Literal["spread", "interleaved"] | None
    num_workers: int | None
    batch_videos: int
    timeout_sec: float
    accelerator: str
    precision: PrecisionName


def run_predict(weights: str, videos: Sequence[str], options: PredictOptions) -> None:
    """Classify videos and write a row for each as soon as it is known, in the order in which they were named.

    Raises:
        ConfigError: The request was wrong, or no video was named.
        CheckpointError: The weights are missing, damaged or of another model.
        TrainingError: Not one video could be read; the rows say why.
    """
    found = find_videos(videos, sys.stdin)
    device = pick_device(options.accelerator)
    predictor = VideoPredictor.from_pretrained(
        weights,
        num_clips=options.num_clips,
        num_crops=options.num_crops,
        stride=options.stride,
        windows=options.windows,
        device=device,
        top_k=options.top_k,
        num_workers=options.num_workers,
        batch_videos=options.batch_videos,
        decode_timeout_sec=options.timeout_sec,
        precision=options.precision,
    )
    say_device(options.accelerator, device)
    messages = Console(stderr=True, highlight=False, soft_wrap=True)
    messages.print(f"Views: {describe_views(predictor.views, options.precision)}.", markup=False)
    for note in found.notes:
        messages.print(note, markup=False)
    with _opened(options.out) as file, naming_full_memory("Lower --batch-videos, --clips or --crops."):
        tally = _Tally()
        rows = tally.counted(predictor.predict(found.paths))
        _WRITERS[options.format](_with_bar(rows, len(found.paths), options, messages), predictor.top_k, file)
    _report(tally, options, messages)


@dataclass
class _Tally:
    """How many videos went by, and how many of them could not be read."""

    num_videos: int = 0
    num_faults: int = 0

    def counted(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        for prediction in predictions:
            self.num_videos += 1
            self.num_faults += prediction.fault is not None
            yield prediction


def _report(tally: _Tally, options: PredictOptions, messages: Console) -> None:
    if tally.num_faults == tally.num_videos:
        raise TrainingError(
            where="predict",
            came=f"no readable video among {tally.num_videos}",
            expected="at least one",
            todo="Each row says what is wrong with its video.",
        )
    if tally.num_faults:
        messages.print(
            f"{tally.num_faults} of {tally.num_videos} videos could not be read; their rows say why."
        )
    if options.out is not None:
        messages.print(f"Written: {options.out}", markup=False)


@contextmanager
def _opened(out: Path | None) -> Generator[TextIO]:
    """Open the file to write; names of files that are no text survive as they are."""
    if out is None:
        yield sys.stdout
        return
    try:
        file = out.open("w", encoding="utf-8", errors="surrogateescape", newline="")
    except OSError as error:
        raise ConfigError(
            where="--out",
            came=f"{out}: {(error.strerror or str(error)).lower()}",
            expected="a file that can be written",
            todo="Give another path.",
        ) from error
    with file:
        yield file


def _with_bar(
    rows: Iterable[Prediction], total: int, options: PredictOptions, messages: Console
) -> Iterator[Prediction]:
    """Show how far it is, unless rows appear on the same terminal anyhow."""
    rows_show = options.out is None and sys.stdout.isatty()
    columns = (TextColumn("predict"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = rows_show or not messages.is_terminal
    with Progress(
        *columns, console=messages, transient=True, disable=hidden, redirect_stdout=False
    ) as progress:
        yield from progress.track(rows, total=total)


def _write_json(rows: Iterable[Prediction], top_k: int, file: TextIO) -> None:
    for row in rows:
        record = {
            "path": str(row.path),
            "num_frames": row.num_frames,
            "classes": [{"label": each.label, "probability": each.probability} for each in row.classes],
            "fault": None if row.fault is None else {"cause": row.fault.cause, "detail": row.fault.detail},
        }
        print(json.dumps(record), file=file, flush=True)


def _write_csv(rows: Iterable[Prediction], top_k: int, file: TextIO) -> None:
    ranks = range(1, top_k + 1)
    writer = csv.writer(file, lineterminator="\n")
    pairs = [name for rank in ranks for name in (f"label_{rank}", f"probability_{rank}")]
    writer.writerow(["path", "num_frames", *pairs, "fault"])
    for row in rows:
        values = [value for each in row.classes for value in (each.label, each.probability)]
        fault = "" if row.fault is None else row.fault.detail
        writer.writerow([row.path, row.num_frames, *(values or [""] * len(pairs)), fault])
        file.flush()


def _write_table(rows: Iterable[Prediction], top_k: int, file: TextIO) -> None:
    """Write a block for each video, which no width of a terminal cuts: rank, probability and class."""
    console = Console(file=file, highlight=False, soft_wrap=True)
    for row in rows:
        title = f"{row.path}  ({row.num_frames} frames)" if row.fault is None else str(row.path)
        console.print(Text(title, style="bold"))
        if row.fault is not None:
            console.print(Text(f"   {row.fault.detail}", style="red"))
        for rank, each in enumerate(row.classes, start=1):
            console.print(Text(_line(rank, each)))


def _line(rank: int, each: ClassProbability) -> str:
    return f"{rank:4d}  {each.probability:7.2%}  {each.label}"


_WRITERS: dict[str, Callable[[Iterable[Prediction], int, TextIO], None]] = {
    "table": _write_table,
    "json": _write_json,
    "csv": _write_csv,
}
