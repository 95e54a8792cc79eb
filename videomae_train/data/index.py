"""A packed data set: what is in the shards, and which part of it a run uses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from videomae_train.data.description import (
    SetDescription,
    check_local_shards,
    check_own_shards,
    local_index,
    read_description,
    shards_elsewhere,
)
from videomae_train.data.layout import DESCRIPTION_FILE, SPLIT_PREFIX, fingerprint_videos
from videomae_train.data.locations import Location
from videomae_train.data.reading import ByteRange, ShardReader, StorageOptions
from videomae_train.data.remote import RemoteFiles
from videomae_train.data.video_table import VideoTable
from videomae_train.errors import ConfigError, ShardError
from videomae_train.randomness import philox_key

WHOLE_SET = "all"
_ROWS_AT_ONCE = 65536


class PackedDataset:
    """The index of a packed data set; made by `PackedDataset.open`.

    Attributes:
        folder: Where the set is; its shards may be elsewhere.
        classes: Class names; a label is a number in this list.
        splits: For each split its parts: {"split1": ("test", "train")}.
        index_file: The index, on this machine.
    """

    def __init__(self, described: SetDescription, index_file: Path, storage: StorageOptions) -> None:
        self.folder = described.folder
        self.classes: tuple[str, ...] = tuple(described.content["classes"])
        self.splits = {name: tuple(parts) for name, parts in described.content["splits"].items()}
        self.index_file = index_file
        self._shards = described.shards
        self._elsewhere = shards_elsewhere(described)
        self._reader = ShardReader(described.shards, storage)

    @classmethod
    def open(cls, folder: str | Path | Location, storage: StorageOptions | None = None) -> PackedDataset:
        """Open a packed data set and check that the shards in its folder are there in full length.

        Shards elsewhere, such as those that staging left behind, need not be there before something of them is
        selected or read.

        Args:
            folder: Folder, or URL such as "https://host/set" or "s3://bucket/set".
            storage: Cache and patience for remote sets and shards.

        Raises:
            ConfigError: There is no packed data set.
            ShardError: Description, index and shards do not belong together, or a server does not give them.
        """
        storage = storage or StorageOptions()
        files = RemoteFiles(storage.remote)
        described = read_description(Location.of(folder), files)
        check_own_shards(described)
        dataset = cls(described, local_index(described, files, storage.cache_dir), storage)
        dataset._check_rows(described)
        return dataset

    def _check_rows(self, described: SetDescription) -> None:
        expected = described.content["num_videos"]
        if self.num_videos != expected:
            came, expected = f"{self.num_videos} rows", f"{expected} as {DESCRIPTION_FILE} says"
        elif unknown := set(np.unique(self.shard_numbers).tolist()) - set(self._shards):
            came, expected = f"rows of shard {min(unknown)}", f"rows of shards that {DESCRIPTION_FILE} lists"
        else:
            return
        todo = "Copy or pack the data set again."
        raise ShardError(where=str(self.index_file), came=came, expected=expected, todo=todo)

    def __getstate__(self) -> dict[str, object]:
        # The mapped table is opened again by each process instead of being copied to it.
        kept = ("folder", "classes", "splits", "index_file", "_shards", "_elsewhere", "_reader")
        return {name: value for name, value in self.__dict__.items() if name in kept}

    @cached_property
    def table(self) -> pa.Table:
        """The rows of the index, memory-mapped; columns as in `layout.IndexRow`."""
        return pa.ipc.open_file(pa.memory_map(str(self.index_file))).read_all().combine_chunks()

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
    def fps(self) -> np.ndarray:
        """float32 (num_videos,): average frames per second of each video, 0 where the file states none."""
        return self._column("fps")

    @cached_property
    def frame_sizes(self) -> np.ndarray:
        """int32 (num_videos, 2): height and width of each video's frames, upright."""
        return np.stack([self._column("height"), self._column("width")], axis=1)

    @cached_property
    def _ranges(self) -> tuple[np.ndarray, np.ndarray]:
        return self._column("offset"), self._column("size")

    def _column(self, name: str) -> np.ndarray:
        return self.table.column(name).to_numpy()

    def key(self, sample_id: int) -> str:
        """Name a video, given its row."""
        return self.table.column("key")[sample_id].as_py()

    def shard(self, sample_id: int) -> str:
        """Name the shard file that holds a video, given its row: its place in the set's folder, or its address."""
        place = str(self._shards[int(self.shard_numbers[sample_id])].place)
        return place.removeprefix(f"{self.folder}/")

    def where(self, sample_id: int) -> str:
        """Say where a video is, for messages: shard and key."""
        return f"{self._shards[int(self.shard_numbers[sample_id])].place}, {self.key(sample_id)}"

    def read_bytes(self, sample_id: int) -> bytes:
        """Read a video's bytes, given its row.

        Raises:
            ShardError: The shard cannot be read or does not hold what the index says.
        """
        offsets, sizes = self._ranges
        checksum = self.table.column("checksum")[sample_id].as_py()
        wanted = ByteRange(self.key(sample_id), int(offsets[sample_id]), int(sizes[sample_id]), checksum)
        return self._reader.read(int(self.shard_numbers[sample_id]), wanted)

    def expect(self, sample_id: int) -> None:
        """Say that a video will be read soon: a remote set with a cache starts to fetch its shard."""
        self._reader.expect(int(self.shard_numbers[sample_id]))

    def select(self, name: str = WHOLE_SET, *, per_class: int | None = None, seed: int = 0) -> Selection:
        """Choose the videos of a run, and check that the shards which hold them are there in full length.

        Args:
            name: "all", or split and part such as "split1/train".
            per_class: Keep this many labelled videos of each class. With the same seed the same videos stay, by their
                keys, on every machine and however the set was packed, and fewer are always among more.
            seed: Decides which ones.

        Raises:
            ConfigError: There is no such part, it is empty, or a class has too few videos.
            ShardError: One of the shards is missing or of another length.
        """
        rows = self._rows(name)
        if per_class is not None:
            rows = self._few_per_class(rows, name, per_class, seed)
        if len(rows) == 0:
            raise self._selection_error(name, "no video", "at least one video")
        self._check_elsewhere(rows)
        return Selection(self, name, rows, fingerprint_videos(self._keys_and_checksums(rows)))

    def _check_elsewhere(self, rows: np.ndarray) -> None:
        needed = self._elsewhere.intersection(np.unique(self.shard_numbers[rows]).tolist())
        todo = f"{self.folder} reads it there: mount that disk, or stage or index this selection again."
        check_local_shards((self._shards[number] for number in sorted(needed)), todo=todo)

    def _rows(self, name: str) -> np.ndarray:
        if name == WHOLE_SET:
            return np.arange(self.num_videos, dtype=np.int64)
        split, _, part = name.partition("/")
        if part not in self.splits.get(split, ()):
            known = [WHOLE_SET, *(f"{s}/{p}" for s, parts in self.splits.items() for p in parts)]
            raise self._selection_error(name, "no such selection", "one of " + ", ".join(known))
        is_member = pc.call_function("equal", [self.table.column(SPLIT_PREFIX + split), pa.scalar(part)])
        return pc.call_function("indices_nonzero", [is_member]).to_numpy().astype(np.int64)

    def _keys_and_checksums(self, rows: np.ndarray) -> Iterator[tuple[str, bytes]]:
        columns = self.table.select(["key", "checksum"])
        for start in range(0, len(rows), _ROWS_AT_ONCE):  # a copy of the whole index would not be small
            some = columns.take(rows[start : start + _ROWS_AT_ONCE])
            yield from zip(*(column.to_pylist() for column in some.columns), strict=True)

    def _few_per_class(self, rows: np.ndarray, name: str, per_class: int, seed: int) -> np.ndarray:
        labels = self.labels[rows]
        kept: list[np.ndarray] = []
        for label in np.unique(labels[labels >= 0]).tolist():
            members = rows[labels == label]
            if len(members) < per_class:
                came = f"{len(members)} videos of {self.classes[label]}"
                todo = f"Set data.per_class={len(members)} or less, or choose another selection."
                raise self._selection_error(name, came, f"{per_class} of each class", todo)
            # By their keys' own draws: neither the order of packing nor a missing video moves the others.
            keys = self.table.column("key").take(members).to_pylist()
            draws = [philox_key(seed, "few labels", self.classes[label], key) for key in keys]
            kept.append(members[sorted(range(len(members)), key=draws.__getitem__)[:per_class]])
        return np.sort(np.concatenate(kept)) if kept else rows[:0]

    def _selection_error(
        self, name: str, came: str, expected: str, todo: str = "Choose another selection."
    ) -> ConfigError:
        where = f"selection {name!r} of {self.folder}"
        return ConfigError(where=where, came=came, expected=expected, todo=todo)


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
