"""Features in a folder, a file for each video, filled so that it may be interrupted at any moment.

<key>.safetensors or .npz    a finished video
<key>.000024.part            an unfinished one: its clips from number 24 on, as far as the file says
features.json                what was asked for; the same has to be asked for to go on
faults.json                  videos that could not be read
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Generator, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

import numpy as np
from safetensors import SafetensorError

from videomae_train.data.layout import write_json
from videomae_train.errors import ConfigError, TrainingError
from videomae_train.inference.array_files import (
    ArrayBlocks,
    ArrayFormat,
    SafetensorsFile,
    read_names,
    write_arrays,
)
from videomae_train.inference.features import FeaturePiece, VideoFeatures
from videomae_train.types import Fault

REQUEST_FILE = "features.json"
FAULTS_FILE = "faults.json"
Unit = Literal["clip", "video"]
FeatureType = Literal["float32", "float16"]
_ROWS = ("features", "start_frames", "start_sec")


class FeatureFolder:
    """A folder that features are put into.

    Args:
        folder: Made if need be.
        request: What decides the features: weights, layer, clips; what JSON can hold.
        format: Of the videos' files.
        per: "clip" keeps a row for each clip, "video" their mean.
        dtype: Of the features.
    """

    def __init__(
        self,
        folder: Path,
        request: Mapping[str, object],
        *,
        format: ArrayFormat,
        per: Unit,
        dtype: FeatureType,
    ) -> None:
        self.folder, self.per, self.dtype = folder, per, np.dtype(dtype)
        self.format: ArrayFormat = format
        self.request = {**request, "per": per, "dtype": dtype, "format": format}
        self._faults: dict[str, dict[str, str]] = {}

    @contextmanager
    def filling(self) -> Generator[None]:
        """Begin to fill the folder, or go on with it, as its only process.

        Raises:
            ConfigError: Something else is there, or another process fills it.
        """
        file = self.folder / REQUEST_FILE
        if not file.is_file():
            _check_vacant(self.folder)
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(file, self.request)
        with file.open() as stream:
            _lock(self.folder, stream.fileno())
            self._check_request(json.load(stream))
            for leftover in self.folder.rglob("*.partial"):  # of a process that was killed while it wrote
                leftover.unlink()
            if (self.folder / FAULTS_FILE).is_file():
                faults = json.loads((self.folder / FAULTS_FILE).read_text(encoding="utf-8"))["faults"]
                self._faults = {fault["key"]: fault for fault in faults}
            yield

    def _check_request(self, before: dict[str, object]) -> None:
        now = json.loads(json.dumps(self.request))
        changes = [
            f"{name} {before.get(name)}, now {now.get(name)}"
            for name in {**before, **now}
            if before.get(name) != now.get(name)
        ]
        if changes:
            raise ConfigError(
                where=str(self.folder),
                came="features of another request: " + "; ".join(changes),
                expected="the same weights and options, to go on",
                todo="Repeat the options of before, or give another --out.",
            )

    def file(self, key: str) -> Path:
        """Name a finished video's file."""
        return self.folder / f"{key}.{self.format}"

    @property
    def faults(self) -> Set[str]:
        """Keys of the videos that could not be read, in this or an earlier call."""
        return self._faults.keys()

    def begun(self, key: str) -> int | None:
        """Count the clips that are there of a video; None if nothing of it is wanted any more."""
        if key in self._faults or self.file(key).is_file():
            self._remove_parts(key)
            return None
        return sum(rows for _, rows in self._parts(key))

    def add(self, key: str, piece: FeaturePiece, first: int) -> None:
        """Keep a piece of a video.

        Args:
            key: The video.
            piece: The next one.
            first: The number of its first clip.

        Raises:
            TrainingError: A feature is too large for float16, or not finite.
        """
        self._check_range(key, piece.features)
        self.file(key).parent.mkdir(parents=True, exist_ok=True)
        if piece.fault is not None:
            self._note(key, piece.fault)
        elif piece.is_last:
            self._finish(key, piece)
        else:
            arrays = {name: ArrayBlocks.of(getattr(piece, name)) for name in _ROWS}
            write_arrays(self._part(key, first), arrays, {}, "safetensors")

    def end(self, keys: Sequence[str]) -> None:
        """Write the list of faults in the videos' order, empty if there are none."""
        self._write_faults([key for key in keys if key in self._faults])

    def _finish(self, key: str, last: FeaturePiece) -> None:
        parts = [SafetensorsFile(file).arrays() for file, _ in self._parts(key)]
        parts.append({name: ArrayBlocks.of(getattr(last, name)) for name in _ROWS})
        whole = {name: _concatenated([part[name] for part in parts]) for name in _ROWS}
        num_frames = ArrayBlocks.of(np.array(last.num_frames, np.int64))
        features = _cast(whole["features"], self.dtype)
        if self.per == "video":
            arrays = {"features": _mean(whole["features"], self.dtype), "num_frames": num_frames}
        else:
            arrays = {**whole, "features": features, "num_frames": num_frames}
        write_arrays(self.file(key), arrays, {"key": key, **self.request}, self.format)
        self._remove_parts(key)

    def _note(self, key: str, fault: Fault) -> None:
        self._faults[key] = {"key": key, "cause": fault.cause, "detail": fault.detail}
        self._write_faults(list(self._faults))
        self._remove_parts(key)

    def _write_faults(self, keys: Sequence[str]) -> None:
        write_json(self.folder / FAULTS_FILE, {"faults": [self._faults[key] for key in keys]})

    def _part(self, key: str, first: int) -> Path:
        return self.folder / f"{key}.{first:06d}.part"

    def _parts(self, key: str) -> Iterator[tuple[Path, int]]:
        """List the parts of a video that follow each other, with their numbers of clips."""
        first = 0
        while (file := self._part(key, first)).is_file():
            rows = SafetensorsFile(file).arrays()["start_frames"].shape[0]
            yield file, rows
            first += rows

    def _remove_parts(self, key: str) -> None:
        for file, _ in reversed(list(self._parts(key))):
            file.unlink()

    def _check_range(self, key: str, features: np.ndarray) -> None:
        with np.errstate(over="ignore"):
            if np.isfinite(features.astype(self.dtype)).all():
                return
        is_finite = bool(np.isfinite(features).all())
        raise TrainingError(
            where=key,
            came=f"features up to {np.abs(features).max():.3g}"
            if is_finite
            else "features that are not finite",
            expected=f"finite numbers that {self.dtype} can hold",
            todo="Take float32."
            if is_finite
            else "Look at the weights: `videomae convert` lists their tensors.",
        )


def _check_vacant(folder: Path) -> None:
    files = folder.iterdir() if folder.is_dir() else ()
    others = sorted(file.name for file in files if not file.match(f"{REQUEST_FILE}.*.partial"))
    if folder.is_file() or others:
        raise ConfigError(
            where=str(folder),
            came="a file" if folder.is_file() else f"a folder that holds {', '.join(others[:3])}",
            expected="a new or empty folder, or one with features.json to go on with",
            todo="Give another --out.",
        )


def _lock(folder: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(
            where=str(folder),
            came="a folder that another process is filling",
            expected="one process for each folder",
            todo="Wait for it, or give each process its own videos and --out.",
        ) from error


def _concatenated(parts: Sequence[ArrayBlocks]) -> ArrayBlocks:
    rows = sum(part.shape[0] for part in parts)
    return ArrayBlocks(
        parts[0].dtype, (rows, *parts[0].shape[1:]), lambda: (b for part in parts for b in part.blocks())
    )


def _cast(array: ArrayBlocks, dtype: np.dtype[np.generic]) -> ArrayBlocks:
    return ArrayBlocks(dtype, array.shape, lambda: (block.astype(dtype) for block in array.blocks()))


def _mean(array: ArrayBlocks, dtype: np.dtype[np.generic]) -> ArrayBlocks:
    """Average over rows, row after row in float64, so that the sizes of blocks do not show."""
    total = np.zeros(array.shape[1:], np.float64)
    for block in array.blocks():
        for row in block:
            total += row
    return ArrayBlocks.of((total / array.shape[0]).astype(dtype))


def join_videos(folder: FeatureFolder, keys: Sequence[str], file: Path, format: ArrayFormat) -> None:
    """Join a folder's videos to one file, block by block: each array is named by its kind and its video's key.

    Args:
        folder: Finished, of the format safetensors.
        keys: The videos, in their order; those that could not be read are left out.
        file: To be written, such as "features/run/a.mp4" and "start_sec/run/a.mp4" in it.
        format: Of the file.
    """
    arrays = {
        f"{name}/{key}": array
        for key in keys
        if key not in folder.faults
        for name, array in SafetensorsFile(folder.file(key)).arrays().items()
    }
    write_arrays(file, arrays, {**folder.request, "format": format}, format)


def check_joined(folder: FeatureFolder, keys: Sequence[str], file: Path, format: ArrayFormat) -> None:
    """Make sure that a file is what `join_videos` would write.

    Raises:
        ConfigError: It has another request or other videos, or is something else.
    """
    try:
        about, names = read_names(file, format)
    except (OSError, ValueError, KeyError, SafetensorError, BadZipFile) as error:
        raise _there_already(file, str(error)) from error
    there = {name.removeprefix("features/") for name in names if name.startswith("features/")}
    if about != json.loads(json.dumps({**folder.request, "format": format})):
        raise _there_already(file, "features of another request")
    if there != set(keys):
        raise _there_already(
            file, f"features of {len(there)} videos, of which {len(there & set(keys))} are meant"
        )


def _there_already(file: Path, came: str) -> ConfigError:
    return ConfigError(
        where=str(file),
        came=came,
        expected="no such file, or the features that are asked for",
        todo="Take it away, or give another --out.",
    )


def request_of(extractor: VideoFeatures) -> dict[str, object]:
    """Give what decides features, as it is written down: weights, layer, pooling, clips, format."""
    config = extractor.model.config
    digest = sha256(repr(sorted(asdict(config).items())).encode())
    for name, tensor in sorted(extractor.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().data)
    return {
        "weights_sha256": digest.hexdigest(),
        "layer": extractor.wanted.depth(config),
        "pooling": extractor.wanted.pooling,
        "clips": {"kind": type(extractor.clips).__name__, **asdict(extractor.clips)},
        **({} if extractor.precision == "fp32" else {"precision": extractor.precision}),
    }
