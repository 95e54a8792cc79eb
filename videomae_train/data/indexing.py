"""Indexing: from shards that are there already, here or behind a URL, to a data set; the shards stay where they are.

Each shard is read once from beginning to end, its videos are decoded in child processes. What `pack` promises of videos
holds here too: each is in the set, or in faults.json with its cause.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from videomae_train.data.children import Ended, children_at_work
from videomae_train.data.index_result import IndexOptions, complete_index
from videomae_train.data.layout import DESCRIPTION_FILE
from videomae_train.data.locations import Location
from videomae_train.data.pack_summary import PackFault, PackSummary
from videomae_train.data.probing import FaultyVideo, ProbedVideo, fault_of
from videomae_train.data.remote import RemoteFiles
from videomae_train.data.shard_lists import ShardList, find_shards, parts_of_shards
from videomae_train.data.shards import ShardFacts
from videomae_train.data.tar_probing import TarTask, probe_tar_video
from videomae_train.data.tar_samples import SampleCause, TarFault, TarVideo, read_samples
from videomae_train.data.tar_stream import CutShardError, TarStream
from videomae_train.errors import ConfigError

__all__ = ["IndexOptions", "IndexProgress", "index_shards"]


@dataclass(frozen=True)
class IndexProgress:
    """How far indexing has come; given after each video and each shard.

    Attributes:
        num_shards_read: Shards read to the end.
        num_shards: Shards in all.
        num_videos: Videos looked at.
        num_bytes: Bytes of the good ones among them.
        num_faults: Faults found.
    """

    num_shards_read: int
    num_shards: int
    num_videos: int
    num_bytes: int
    num_faults: int


def index_shards(
    source: str,
    destination: Path | None,
    options: IndexOptions,
    on_progress: Callable[[IndexProgress], None],
) -> PackSummary:
    """Write index, faults and description of shards.

    Args:
        source: See `find_shards`.
        destination: Folder to write into; None writes beside the shards, which have to be on this machine.
        options: How.
        on_progress: Called after each video and each shard.

    Raises:
        ConfigError: There are no shards, there is an index already, keys are not unique, or no video can be decoded.
        ShardError: A shard cannot be read, or a server cannot be asked.
    """
    started = time.monotonic()
    files = RemoteFiles(options.remote)
    shards = find_shards(source, files)
    parts = parts_of_shards(shards.names, options.splits)
    folder = _vacant(shards, destination, overwrite=options.overwrite)
    reader = _ShardsReader(shards, files, options)
    found = _Found(len(shards.names), on_progress)
    with children_at_work(
        probe_tar_video, reader.videos(found), processes=options.processes, timeout_sec=options.timeout_sec
    ) as results:
        for task, result in results:
            found.add(
                task,
                fault_of(task.name, result, options.timeout_sec) if isinstance(result, Ended) else result,
            )
    return complete_index(
        folder,
        found.videos,
        [fault for _, fault in sorted(found.faults, key=lambda item: item[0])],
        {number: _named_for(shards, folder, facts) for number, facts in found.shards.items()},
        {number: parts[name] for number, name in enumerate(shards.names)},
        options,
        started,
    )


def _vacant(shards: ShardList, destination: Path | None, *, overwrite: bool) -> Location:
    if destination is None and shards.base.is_remote:
        raise ConfigError(
            where=str(shards.base),
            came="shards on a server, and no folder for their index",
            expected="a folder on this machine to write into",
            todo="Name it as the second argument; its files may be uploaded beside the shards afterwards.",
        )
    folder = shards.base if destination is None else Location.of(destination)
    if (folder / DESCRIPTION_FILE).path.exists() and not overwrite:
        raise ConfigError(
            where=str(folder),
            came="a data set that is there already",
            expected="a folder without one",
            todo="Choose another folder, or allow overwriting.",
        )
    return folder


def _named_for(shards: ShardList, folder: Location, facts: ShardFacts) -> ShardFacts:
    """Name a shard as a set in this folder does: absolutely, unless the folder is that of the shards."""
    return facts if folder == shards.base else replace(facts, name=str(shards.place(facts.name)))


class _Found:
    """What indexing has found so far."""

    def __init__(self, num_shards: int, on_progress: Callable[[IndexProgress], None]) -> None:
        self.videos: list[tuple[TarTask, ProbedVideo]] = []
        self.faults: list[tuple[int, PackFault]] = []
        self.shards: dict[int, ShardFacts] = {}
        self._num_shards, self._on_progress = num_shards, on_progress
        self._num_read = self._num_bytes = 0
        self._tell()

    def add(self, task: TarTask, result: ProbedVideo | FaultyVideo) -> None:
        """Take a video that a child is done with."""
        if isinstance(result, ProbedVideo):
            # Not its bytes: all videos together would not fit in memory.
            self.videos.append((replace(task, content=b""), result))
            self._num_bytes += task.size
        else:
            self.faults.append((task.shard, PackFault(task.name, result.cause, result.detail)))
        self._tell()

    def add_fault(self, shard: int, name: str, cause: SampleCause, detail: str) -> None:
        """Take a fault of a shard's own."""
        self.faults.append((shard, PackFault(name, cause.value, detail)))

    def end_shard(self, shard: int, facts: ShardFacts | None) -> None:
        """Take note of a shard that was read; None leaves it out with all its videos."""
        if facts is not None:
            self.shards[shard] = facts
        self._num_read += 1
        self._tell()

    def _tell(self) -> None:
        num_videos = len(self.videos) + len(self.faults)
        self._on_progress(
            IndexProgress(self._num_read, self._num_shards, num_videos, self._num_bytes, len(self.faults))
        )


class _ShardsReader:
    """Reads one shard after the other and hands out its videos."""

    def __init__(self, shards: ShardList, files: RemoteFiles, options: IndexOptions) -> None:
        self._shards, self._files, self._options = shards, files, options
        self._first: dict[str, str] = {}  # key -> the shard that has it

    def videos(self, found: _Found) -> Iterator[TarTask]:
        """Give all videos; faults and facts of shards go to `found`."""
        for number, shard in enumerate(self._shards.names):
            stream = TarStream(self._shards.place(shard), self._files)
            try:
                for sample in read_samples(stream.members(), self._options.label_key):
                    task = self._task(number, shard, sample, found)
                    if task is not None:
                        yield task
            except CutShardError as error:
                found.add_fault(number, shard, SampleCause.CUT_SHARD, str(error))
                found.end_shard(number, None)
            else:
                facts = stream.facts  # its videos are counted when they have been decoded
                found.end_shard(number, ShardFacts(shard, 0, facts.num_bytes, str(facts.sha256)))

    def _task(self, number: int, shard: str, sample: TarVideo | TarFault, found: _Found) -> TarTask | None:
        if isinstance(sample, TarFault):
            found.add_fault(number, f"{shard}/{sample.name}", sample.cause, sample.detail)
            return None
        key = f"{shard.removesuffix('.tar')}/{sample.key}" if self._options.key_with_shard else sample.key
        if key in self._first:
            if self._first[key] != shard:
                raise self._shared_key(key, shard)
            found.add_fault(number, f"{shard}/{key}", SampleCause.DUPLICATE, "the key a second time")
            return None
        self._first[key] = shard
        label = "" if self._options.unlabelled else sample.label
        return TarTask(
            shard=number,
            name=f"{shard}/{sample.key}.{sample.extension}",
            key=key,
            extension=sample.extension,
            offset=sample.offset,
            size=len(sample.content),
            label=label,
            content=sample.content,
        )

    def _shared_key(self, key: str, shard: str) -> ConfigError:
        return ConfigError(
            where=f"{self._shards.base}",
            came=f"the key {key} in {self._first[key]} and in {shard}",
            expected="keys that are unique in the whole set",
            todo="If the shards number their samples anew, --key-with-shard names them by shard and key.",
        )
