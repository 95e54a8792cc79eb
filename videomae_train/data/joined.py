"""Several packed sets as one: numbered on, in the order of their names."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from hashlib import blake2b

import numpy as np

from videomae_train.data.index import PackedDataset, Selection
from videomae_train.data.options import SetOptions
from videomae_train.data.reading import StorageOptions
from videomae_train.data.video_table import VideoTable
from videomae_train.errors import VideoMAETrainError


class JoinedDataset:
    """The videos of several sets; a sample id is a row of its set, counted on from the sets before it.

    Args:
        sets: Name -> set, in the order in which they are numbered.
    """

    def __init__(self, sets: Mapping[str, VideoTable]) -> None:
        self._names, self._sets = tuple(sets), tuple(sets.values())
        self.first_ids = np.cumsum([0, *(dataset.num_videos for dataset in self._sets)])

    def __getstate__(self) -> dict[str, object]:
        # What can be computed again is not copied to other processes.
        return {name: self.__dict__[name] for name in ("_names", "_sets", "first_ids")}

    def _find(self, sample_id: int) -> tuple[str, VideoTable, int]:
        number = int(np.searchsorted(self.first_ids, sample_id, side="right")) - 1
        return self._names[number], self._sets[number], sample_id - int(self.first_ids[number])

    @property
    def num_videos(self) -> int:
        """Rows of all sets."""
        return int(self.first_ids[-1])

    @property
    def title(self) -> str:
        """Names and places of the sets, for messages."""
        return ", ".join(
            f"{name} ({dataset.title})" for name, dataset in zip(self._names, self._sets, strict=True)
        )

    @cached_property
    def shard_numbers(self) -> np.ndarray:
        """int64 (num_videos,): each video's shard, counted on from the sets before it."""
        numbers: list[np.ndarray] = []
        first = 0
        for dataset in self._sets:
            numbers.append(dataset.shard_numbers + np.int64(first))
            first += int(dataset.shard_numbers.max(initial=-1)) + 1
        return np.concatenate(numbers)

    @cached_property
    def labels(self) -> np.ndarray:
        """int32 (num_videos,): -1 everywhere, since each set numbers classes of its own."""
        return np.full(self.num_videos, -1, dtype=np.int32)

    @cached_property
    def num_frames(self) -> np.ndarray:
        """int32 (num_videos,): frames of each video."""
        return np.concatenate([dataset.num_frames for dataset in self._sets])

    @cached_property
    def fps(self) -> np.ndarray:
        """float32 (num_videos,): average frames per second of each video, 0 where the file states none."""
        return np.concatenate([dataset.fps for dataset in self._sets])

    @cached_property
    def frame_sizes(self) -> np.ndarray:
        """int32 (num_videos, 2): height and width of each video's frames, upright."""
        return np.concatenate([dataset.frame_sizes for dataset in self._sets])

    def set_name(self, sample_id: int) -> str:
        """Name the set of a video."""
        return self._find(sample_id)[0]

    def key(self, sample_id: int) -> str:
        """Name a video within its set."""
        _, dataset, row = self._find(sample_id)
        return dataset.key(row)

    def shard(self, sample_id: int) -> str:
        """Name the set and the shard file that hold a video: "k400/shard-000007.tar"."""
        name, dataset, row = self._find(sample_id)
        return f"{name}/{dataset.shard(row)}"

    def where(self, sample_id: int) -> str:
        """Say where a video is, for messages: set, shard and key."""
        name, dataset, row = self._find(sample_id)
        return f"{name}: {dataset.where(row)}"

    def read_bytes(self, sample_id: int) -> bytes:
        """Read a video's bytes.

        Raises:
            ShardError: The shard cannot be read or does not hold what the index says.
        """
        _, dataset, row = self._find(sample_id)
        return dataset.read_bytes(row)

    def expect(self, sample_id: int) -> None:
        """Say that a video will be read soon."""
        _, dataset, row = self._find(sample_id)
        dataset.expect(row)


def open_selection(sets: Mapping[str, SetOptions], storage: StorageOptions) -> Selection:
    """Open the sets of a run and choose its videos.

    Args:
        sets: Name -> where it is and what of it is used. The single name "" stands for a run on one set without a
            name, whose sample ids and fingerprint are the set's own.
        storage: Cache and patience for remote sets.

    Raises:
        ConfigError: A set is not there, or nothing of it is selected.
        ShardError: A set is not whole.
    """
    if tuple(sets) == ("",):
        return PackedDataset.open(sets[""].path, storage).select(sets[""].selection)
    return join_selections({name: _open_named(name, options, storage) for name, options in sets.items()})


def _open_named(name: str, options: SetOptions, storage: StorageOptions) -> Selection:
    try:
        return PackedDataset.open(options.path, storage).select(options.selection)
    except VideoMAETrainError as error:
        error.where = f"data.sets.{name}: {error.where}"
        raise


def join_selections(selections: Mapping[str, Selection]) -> Selection:
    """Join selections to one, in the order of their names, whatever order they come in.

    The fingerprint is condensed from theirs in this order: neither names nor paths are in it, but a new name that
    changes the order changes the run's order of videos too.
    """
    ordered = dict(sorted(selections.items()))
    dataset = JoinedDataset({name: selection.dataset for name, selection in ordered.items()})
    parts = zip(ordered.values(), dataset.first_ids.tolist(), strict=False)
    digest = blake2b(digest_size=16)
    for selection in ordered.values():
        digest.update(selection.fingerprint.encode())
    return Selection(
        dataset,
        ", ".join(f"{name}: {selection.name}" for name, selection in ordered.items()),
        np.concatenate([selection.sample_ids + first for selection, first in parts]),
        digest.hexdigest(),
    )
