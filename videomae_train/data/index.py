"""A packed data set: what is in the shards, and which part of it a run uses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from videomae_train.data.layout import (
    DESCRIPTION_FILE,
    FORMAT_VERSION,
    INDEX_FILE,
    SPLIT_PREFIX,
    content_checksum,
    fingerprint_videos,
    shard_name,
)
from videomae_train.data.reading import ShardReader
from videomae_train.data.video_table import VideoTable
from videomae_train.errors import ConfigError, ShardError
from videomae_train.randomness import keyed_permutation

WHOLE_SET = "all"


class PackedDataset:
    """The index of a packed data set; made by `PackedDataset.open`.

    Attributes:
        folder: Where the shards are.
        classes: Class names; a label is a number in this list.
        splits: For each split its parts: {"split1": ("test", "train")}.
    """

    def __init__(self, folder: Path, classes: tuple[str, ...], splits: dict[str, tuple[str, ...]]) -> None:
        self.folder = folder
        self.classes = classes
        self.splits = splits
        self._reader = ShardReader(folder)

    @classmethod
    def open(cls, folder: Path) -> PackedDataset:
        """Open a packed data set and check that its shards are there in full length.

        Raises:
            ConfigError: There is no packed data set.
            ShardError: Description, index and shards do not belong together.
        """
        folder = folder.resolve()
        description = _read_description(folder)
        for shard in description["shards"]:
            _check_length(folder / shard["name"], shard["num_bytes"])
        splits = {name: tuple(parts) for name, parts in description["splits"].items()}
        dataset = cls(folder, tuple(description["classes"]), splits)
        if dataset.num_videos != description["num_videos"]:
            raise ShardError(
                where=str(folder / INDEX_FILE),
                came=f"{dataset.num_videos} rows",
                expected=f"{description['num_videos']} as {DESCRIPTION_FILE} says",
                todo="Copy or pack the data set again.",
            )
        return dataset

    def __getstate__(self) -> dict[str, object]:
        # The mapped table is opened again by each process instead of being copied to it.
        kept = ("folder", "classes", "splits", "_reader")
        return {name: value for name, value in self.__dict__.items() if name in kept}

    @cached_property
    def table(self) -> pa.Table:
        """The rows of the index, memory-mapped; columns as in `layout.IndexRow`."""
        return pa.ipc.open_file(pa.memory_map(str(self.folder / INDEX_FILE))).read_all().combine_chunks()

    @property
    def num_videos(self) -> int:
        """Rows of the index."""
        return self.table.num_rows

    @cached_property
    def shard_numbers(self) -> np.ndarray:
        """int32 (num_videos,): each video's shard."""
        return self._column("shard")

    @cached_property
    def labels(self) -> np.ndarray:
        """int32 (num_videos,): class numbers, -1 where there is none."""
        return self._column("label")

    @cached_property
    def num_frames(self) -> np.ndarray:
        """int32 (num_videos,): frames of each video."""
        return self._column("num_frames")

    @property
    def title(self) -> str:
        """The folder, for messages."""
        return str(self.folder)

    def set_name(self, sample_id: int) -> str:
        """Name the set of a video: "", since there is only this one."""
        return ""

    @cached_property
    def _ranges(self) -> tuple[np.ndarray, np.ndarray]:
        return self._column("offset"), self._column("size")

    def _column(self, name: str) -> np.ndarray:
        return self.table.column(name).to_numpy()

    def key(self, sample_id: int) -> str:
        """Name a video, given its row."""
        return self.table.column("key")[sample_id].as_py()

    def shard(self, sample_id: int) -> str:
        """Name the shard file that holds a video, given its row."""
        return shard_name(int(self.shard_numbers[sample_id]))

    def where(self, sample_id: int) -> str:
        """Say where a video is, for messages: shard and key."""
        return f"{self.folder / self.shard(sample_id)}, {self.key(sample_id)}"

    def read_bytes(self, sample_id: int) -> bytes:
        """Read a video's bytes, given its row.

        Raises:
            ShardError: The shard cannot be read or does not hold what the index says.
        """
        offsets, sizes = self._ranges
        shard = self.shard(sample_id)
        content = self._reader.read(shard, int(offsets[sample_id]), int(sizes[sample_id]))
        if content_checksum(content) != self.table.column("checksum")[sample_id].as_py():
            raise ShardError(
                where=self.where(sample_id),
                came="bytes of another checksum",
                expected="the bytes that were packed",
                todo="The shard was changed or damaged: copy or pack it again.",
            )
        return content

    def select(self, name: str = WHOLE_SET, *, per_class: int | None = None, seed: int = 0) -> Selection:
        """Choose the videos of a run.

        Args:
            name: "all", or split and part such as "split1/train".
            per_class: Keep this many labelled videos of each class; fewer are always among more of the same
            seed.
            seed: Decides which ones.

        Raises:
            ConfigError: There is no such part, it is empty, or a class has too few videos.
        """
        rows = self._rows(name)
        if per_class is not None:
            rows = self._few_per_class(rows, name, per_class, seed)
        if len(rows) == 0:
            raise self._selection_error(name, "no video", "at least one video")
        return Selection(self, name, rows, fingerprint_videos(self._keys_and_checksums(rows)))

    def _rows(self, name: str) -> np.ndarray:
        if name == WHOLE_SET:
            return np.arange(self.num_videos, dtype=np.int64)
        split, _, part = name.partition("/")
        if part not in self.splits.get(split, ()):
            known = [WHOLE_SET, *(f"{s}/{p}" for s, parts in self.splits.items() for p in parts)]
            raise self._selection_error(name, "no such selection", "one of " + ", ".join(known))
        parts = self.table.column(SPLIT_PREFIX + split).to_numpy()
        return np.flatnonzero(parts == part)

    def _keys_and_checksums(self, rows: np.ndarray) -> Iterator[tuple[str, bytes]]:
        for batch in self.table.select(["key", "checksum"]).take(rows).to_batches(max_chunksize=65536):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

    def _few_per_class(self, rows: np.ndarray, name: str, per_class: int, seed: int) -> np.ndarray:
        labels = self.labels[rows]
        kept: list[np.ndarray] = []
        for label in np.unique(labels[labels >= 0]).tolist():
            members = rows[labels == label]
            if len(members) < per_class:
                came = f"{len(members)} videos of {self.classes[label]}"
                raise self._selection_error(name, came, f"{per_class} of each class")
            order = keyed_permutation(len(members), seed, "few labels", self.classes[label])
            kept.append(members[order[:per_class]])
        return np.sort(np.concatenate(kept)) if kept else rows[:0]

    def _selection_error(self, name: str, came: str, expected: str) -> ConfigError:
        where = f"selection {name!r} of {self.folder}"
        return ConfigError(where=where, came=came, expected=expected, todo="Choose another selection.")


@dataclass(frozen=True)
class Selection:
    """The videos of a run, named by their rows in the index.

    Attributes:
        dataset: The packed data set they are from, or several joined.
        name: How they were chosen.
        sample_ids: int64 (n,), rising.
        fingerprint: Condensed from their keys and checksums in index order.
    """

    dataset: VideoTable
    name: str
    sample_ids: np.ndarray
    fingerprint: str

    def __len__(self) -> int:
        return len(self.sample_ids)

    @property
    def labels(self) -> np.ndarray:
        """int32 (n,): class numbers, -1 where there is none."""
        return self.dataset.labels[self.sample_ids]

    @property
    def shard_numbers(self) -> np.ndarray:
        """int32 (n,): the shard of each video."""
        return self.dataset.shard_numbers[self.sample_ids]

    def check_labelled(self) -> None:
        """Refuse a selection with unlabelled videos.

        Raises:
            ConfigError: A video has no label.
        """
        unlabelled = int((self.labels < 0).sum())
        if unlabelled:
            raise ConfigError(
                where=f"selection {self.name!r} of {self.dataset.title}",
                came=f"{unlabelled} of {len(self)} videos without a label",
                expected="a label for each video",
                todo="Choose another selection, or pack the set with labels.",
            )


def _read_description(folder: Path) -> dict[str, Any]:
    file = folder / DESCRIPTION_FILE
    if not file.is_file():
        raise ConfigError(
            where=str(folder),
            came="no packed data set" if folder.is_dir() else "no such folder",
            expected=f"a folder with {DESCRIPTION_FILE}, {INDEX_FILE} and shards",
            todo=f"Make one with `videomae pack SOURCE {folder}`.",
        )
    description = json.loads(file.read_text(encoding="utf-8"))
    if description.get("format") != FORMAT_VERSION:
        raise ShardError(
            where=str(file),
            came=f"format {description.get('format')}",
            expected=f"format {FORMAT_VERSION}",
            todo="Pack the data set again.",
        )
    return description


def _check_length(file: Path, num_bytes: int) -> None:
    found = file.stat().st_size if file.is_file() else None
    if found != num_bytes:
        raise ShardError(
            where=str(file),
            came="no such file" if found is None else f"{found} bytes",
            expected=f"{num_bytes} bytes",
            todo="Copy or pack the data set again.",
        )
