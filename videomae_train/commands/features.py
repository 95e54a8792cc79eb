"""`videomae features`: features of video files or of a packed set, into a folder or one file."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from videomae_train.config.devices import pick_device, say_device
from videomae_train.data.clip_stream import ClipSource, PackedVideos
from videomae_train.data.index import WHOLE_SET, PackedDataset
from videomae_train.data.layout import DESCRIPTION_FILE
from videomae_train.errors import ConfigError, TrainingError
from videomae_train.evaluation.memory import naming_full_memory
from videomae_train.evaluation.number_format import PrecisionName
from videomae_train.inference import VideoFeatures, find_videos
from videomae_train.inference.array_files import ArrayFormat
from videomae_train.inference.feature_files import (
    FAULTS_FILE,
    FeatureFolder,
    FeatureType,
    Unit,
    check_joined,
    join_videos,
    request_of,
)
from videomae_train.inference.features import check_keys
from videomae_train.inference.representation import Pooling

_FILES: dict[str, ArrayFormat] = {".safetensors": "safetensors", ".npz": "npz"}


@dataclass(frozen=True)
class FeaturesOptions:
    """What the command line says beside weights and videos; see `inference.VideoFeatures` for the middle part.

    Attributes:
        out: A folder, or a file ending in .safetensors or .npz.
        format: Of the files in a folder; None takes safetensors, or what the file's name says.
        per: A row for each clip, or their mean.
        dtype: Of the features as they are written.
        selection: Of a packed set; None takes all of it.
        layer: Layer.
        pooling: Pooling.
        window_stride: Frames between clips; None takes views.
        num_clips: Views.
        num_crops: Crops.
        stride: Frames between a clip's frames.
        num_workers: Processes that decode; None chooses.
        batch_clips: Clips in a forward pass.
        timeout_sec: The longest that a decoder may take.
        accelerator: auto, cpu or gpu.
        precision: Of the matrix products.
    """

    out: Path
    format: ArrayFormat | None
    per: Unit
    dtype: FeatureType
    selection: str | None
    layer: int
    pooling: Pooling
    window_stride: int | None
    num_clips: int
    num_crops: int | None
    stride: int
    num_workers: int | None
    batch_clips: int
    timeout_sec: float
    accelerator: str
    precision: PrecisionName


def run_features(weights: str, videos: Sequence[str], options: FeaturesOptions) -> None:
    """Compute features and write them as they come; what an earlier, interrupted call has written is kept.

    Raises:
        ConfigError: The request was wrong, or no video was named.
        CheckpointError: The weights are missing, damaged or of another model.
        TrainingError: Not one video could be read.
    """
    messages = Console(stderr=True, highlight=False, soft_wrap=True)
    joined = _joined_format(options)
    source = _source(videos, options.selection, messages)
    check_keys(source)
    keys = [source.key(place) for place in range(source.num_videos)]
    extractor = _extractor(weights, options)
    folder = FeatureFolder(
        options.out if joined is None else options.out.with_name(f"{options.out.name}.unfinished"),
        request_of(extractor),
        format="safetensors" if joined or options.format is None else options.format,
        per=options.per,
        dtype=options.dtype,
    )
    if joined is None:
        with folder.filling():
            _fill(folder, extractor, source, keys, messages)
    else:
        _fill_file(folder, joined, extractor, source, keys, options.out, messages)
    messages.print(f"Written: {options.out}", markup=False)


def _fill_file(
    folder: FeatureFolder,
    format: ArrayFormat,
    extractor: VideoFeatures,
    source: ClipSource,
    keys: Sequence[str],
    out: Path,
    messages: Console,
) -> None:
    """Fill a folder beside the file, then make the one of the other."""
    faults = out.with_name(f"{out.name}.{FAULTS_FILE}")
    if out.exists():
        known = json.loads(faults.read_text(encoding="utf-8"))["faults"] if faults.exists() else []
        check_joined(
            folder, [key for key in keys if key not in {fault["key"] for fault in known}], out, format
        )
    else:
        with folder.filling():
            try:
                _fill(folder, extractor, source, keys, messages)
            finally:
                if (folder.folder / FAULTS_FILE).exists():
                    shutil.copyfile(folder.folder / FAULTS_FILE, faults)
            join_videos(folder, keys, out, format)
    shutil.rmtree(folder.folder, ignore_errors=True)


def _fill(
    folder: FeatureFolder,
    extractor: VideoFeatures,
    source: ClipSource,
    keys: Sequence[str],
    messages: Console,
) -> None:
    begun = {place: folder.begun(key) for place, key in enumerate(keys)}
    left = {place: rows for place, rows in begun.items() if rows is not None}
    done = begun.keys() - left.keys()
    if done or any(left.values()):
        messages.print(f"Going on: {len(done)} of {len(keys)} videos are there.", markup=False)
    columns = (TextColumn("features"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=messages, transient=True, disable=not messages.is_terminal) as progress:
        bar = progress.add_task("features", total=len(keys), completed=len(done))
        with naming_full_memory("Lower --batch-clips."):
            for piece in extractor.pieces(source, done=done, begun=left):
                folder.add(keys[piece.place], piece, left[piece.place])
                left[piece.place] += len(piece.features)
                progress.advance(bar, piece.is_last)
    folder.end(keys)
    _report(folder, keys, messages)


def _report(folder: FeatureFolder, keys: Sequence[str], messages: Console) -> None:
    num_faults = len(folder.faults & set(keys))
    if num_faults == len(keys):
        raise TrainingError(
            where="features",
            came=f"no readable video among {len(keys)}",
            expected="at least one",
            todo=f"{folder.folder / FAULTS_FILE} says what is wrong with each.",
        )
    if num_faults:
        messages.print(
            f"{num_faults} of {len(keys)} videos could not be read; {FAULTS_FILE} says why.", markup=False
        )


def _extractor(weights: str, options: FeaturesOptions) -> VideoFeatures:
    device = pick_device(options.accelerator)
    say_device(options.accelerator, device)
    return VideoFeatures.from_pretrained(
        weights,
        layer=options.layer,
        pooling=options.pooling,
        window_stride=options.window_stride,
        num_clips=options.num_clips,
        num_crops=options.num_crops,
        stride=options.stride,
        device=device,
        num_workers=options.num_workers,
        batch_clips=options.batch_clips,
        decode_timeout_sec=options.timeout_sec,
        precision=options.precision,
    )


def _source(videos: Sequence[str], selection: str | None, messages: Console) -> ClipSource:
    """Open the one packed set that is named, or list files."""
    if len(videos) == 1 and (_is_address(videos[0]) or (Path(videos[0]) / DESCRIPTION_FILE).is_file()):
        return PackedVideos(PackedDataset.open(videos[0]).select(selection or WHOLE_SET))
    if selection is not None:
        raise _error(
            "--selection",
            selection,
            "one packed set beside it, and nothing else",
            "Leave it out, or name the set alone.",
        )
    packed = [name for name in videos if (Path(name) / DESCRIPTION_FILE).is_file()]
    if packed:
        came = f"the packed set {packed[0]} beside others"
        raise _error(
            "videos", came, "one packed set, or files", "Run it once for the set and once for the others."
        )
    found = find_videos(videos, sys.stdin)
    for note in found.notes:
        messages.print(note, markup=False)
    return found


def _is_address(name: str) -> bool:
    return "://" in name


def _joined_format(options: FeaturesOptions) -> ArrayFormat | None:
    """Read off its name whether one file is wanted, and of which kind."""
    format = _FILES.get(options.out.suffix.lower())
    if format is None or options.out.is_dir():
        return None
    if options.format not in (None, format):
        expected = f"{format}, as --out {options.out} says"
        raise _error("--format", str(options.format), expected, "Leave it out, or give --out another name.")
    return format


def _error(where: str, came: str, expected: str, todo: str) -> ConfigError:
    return ConfigError(where=where, came=came, expected=expected, todo=todo)
