"""Indexing: from shards that are there already, here or behind a URL, to a data set; the shards stay where they are.

Each shard is read once from beginning to end, its videos are decoded in child processes, and a receipt says what is
in it; the index and the description are made of the receipts. An interrupted indexing therefore continues, and several
jobs can share the shards. What `pack` promises of videos holds here too: each is in the set, or in faults.json.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from videomae_train.data.children import Ended, children_at_work
from videomae_train.data.disk_trouble import full_disk_named
from videomae_train.data.index_plan import IndexOptions, IndexPlan, plan_indexing
from videomae_train.data.index_result import complete_index, summarise_index
from videomae_train.data.indexed_shard import IndexedShard, IndexedVideo
from videomae_train.data.pack_summary import PackFault, PackSummary
from videomae_train.data.parts import check_part, shards_of_part
from videomae_train.data.probing import fault_of
from videomae_train.data.remote import RemoteFiles
from videomae_train.data.shard_lists import find_shards
from videomae_train.data.shard_reading import ShardsReader
from videomae_train.data.tar_probing import probe_tar_video
from videomae_train.data.unfinished import UnfinishedSet
from videomae_train.data.versions import is_unchanged
from videomae_train.errors import ConfigError

__all__ = ["IndexOptions", "IndexProgress", "index_shards"]

_NAMES_SHOWN = 5


@dataclass(frozen=True)
class IndexProgress:
    """How far indexing has come; given at the start, after each video and each shard.

    Attributes:
        num_shards_read: Shards of which all is known.
        num_shards: Shards in all, or of the part.
        num_videos: Videos looked at.
        num_bytes: Bytes of the good ones among them.
        num_faults: Faults found.
        num_kept: Videos of shards that were read before.
        num_kept_bytes: Bytes of the good ones among those.
    """

    num_shards_read: int
    num_shards: int
    num_videos: int
    num_bytes: int
    num_faults: int
    num_kept: int = 0
    num_kept_bytes: int = 0


def index_shards(
    source: str,
    destination: Path | None,
    options: IndexOptions,
    on_progress: Callable[[IndexProgress], None],
) -> PackSummary:
    """Write index, faults and description of shards.

    Killed at any moment and called again with the same shards and options, it reads only the shards that were not
    read to their end or have changed since, and the result is the same byte for byte. With `options.part` it reads
    these shards only; a call without one reads what is still missing and completes the set.

    Args:
        source: See `find_shards`.
        destination: Folder to write into; None writes beside the shards, which have to be on this machine.
        options: How.
        on_progress: Called at the start, after each video and each shard.

    Raises:
        ConfigError: There are no shards, there is another index already, keys are not unique, or no video can be
            decoded.
        ShardError: A shard cannot be read, a server cannot be asked, or the disk of the destination is full.
    """
    started = time.monotonic()
    check_part(options.part, overwrite=options.overwrite)
    files = RemoteFiles(options.remote)
    plan = plan_indexing(find_shards(source, files), destination, options)
    unfinished = UnfinishedSet(plan.folder.path, plan.identity, own_shards="")
    with full_disk_named(plan.folder.path):
        unfinished.begin(overwrite=options.overwrite)
        work = _Indexing(plan, files, unfinished, on_progress)
        try:
            shards = work.run()
            if options.part is None:
                unfinished.remove_leftovers()
                complete_index(plan, shards)
        except ConfigError:
            # The shards are not what the options say. What is known of them holds for other options too.
            unfinished.withdraw()
            raise
        if options.part is None:
            unfinished.end()
    return summarise_index(plan, shards, work.notes, time.monotonic() - started)


class _Indexing:
    """Brings together what was known of shards and what is read now."""

    def __init__(
        self,
        plan: IndexPlan,
        files: RemoteFiles,
        unfinished: UnfinishedSet,
        on_progress: Callable[[IndexProgress], None],
    ) -> None:
        self._plan, self._files, self._unfinished = plan, files, unfinished
        self._on_progress = on_progress
        self._numbers = shards_of_part(plan.options.part, len(plan.shards.names))
        self._keys = _Keys(plan)
        self._shards: dict[int, IndexedShard] = {}
        self._changed: list[int] = []

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of the shards."""
        names = [self._plan.shards.names[number] for number in self._changed]
        listed = ", ".join(names[:_NAMES_SHOWN]) + (" ..." if len(names) > _NAMES_SHOWN else "")
        note = f"{len(names)} shard(s) changed since they were read, and were read again: {listed}"
        return (note,) if names else ()

    def run(self) -> dict[int, IndexedShard]:
        """Say what is in each shard of the part, or in all, in the order of their numbers."""
        account = _Account(len(self._numbers), self._on_progress)
        for number in self._numbers:
            shard = self._known(number)
            if shard is not None:
                self._add(number, shard)
                account.keep(shard)
        self._read([number for number in self._numbers if number not in self._shards], account)
        return dict(sorted(self._shards.items()))

    def _known(self, number: int) -> IndexedShard | None:
        """Look for what is known of a shard; None if that is nothing, or if the shard has changed since."""
        receipt = self._unfinished.load(number, of=self._plan.reading(number))
        if receipt is None:
            return None
        shard = IndexedShard.from_json(receipt)
        if is_unchanged(self._files, self._plan.place(number), shard.version, shard.facts):
            return shard
        self._changed.append(number)
        return None

    def _add(self, number: int, shard: IndexedShard) -> None:
        self._keys.add(number, shard.videos)
        self._shards[number] = shard

    def _read(self, numbers: Sequence[int], account: _Account) -> None:
        def on_shard(number: int, shard: IndexedShard) -> None:
            self._unfinished.save(number, shard.as_json(), of=self._plan.reading(number))
            self._add(number, shard)
            account.end_shard()

        options = self._plan.options
        reader = ShardsReader(self._plan, self._files, on_found=account.add, on_shard=on_shard)
        with children_at_work(
            probe_tar_video,
            reader.tasks(numbers),
            processes=options.processes,
            timeout_sec=options.timeout_sec,
        ) as results:
            for task, result in results:
                is_lost = isinstance(result, Ended)
                reader.take(task, fault_of(task.name, result, options.timeout_sec) if is_lost else result)


class _Keys:
    """The keys of the set, each of which has to be unique."""

    def __init__(self, plan: IndexPlan) -> None:
        self._plan = plan
        self._shard_of: dict[str, int] = {}

    def add(self, number: int, videos: Sequence[IndexedVideo]) -> None:
        """Take those of a shard.

        Raises:
            ConfigError: Another shard has one of them.
        """
        for video in videos:
            key = self._plan.key_in_set(number, video.key)
            if self._shard_of.setdefault(key, number) != number:
                raise self._shared(key, sorted((number, self._shard_of[key])))

    def _shared(self, key: str, numbers: Sequence[int]) -> ConfigError:
        first, second = (self._plan.shards.names[number] for number in numbers)
        return ConfigError(
            where=f"{self._plan.shards.base}",
            came=f"the key {key} in {first} and in {second}",
            expected="keys that are unique in the whole set",
            todo="If the shards number their samples anew, --key-with-shard names them by shard and key.",
        )


class _Account:
    """Counts what is done and tells the caller."""

    def __init__(self, num_shards: int, on_progress: Callable[[IndexProgress], None]) -> None:
        self._now = IndexProgress(0, num_shards, 0, 0, 0)
        self._on_progress = on_progress
        on_progress(self._now)

    def keep(self, shard: IndexedShard) -> None:
        """Count a shard that was read before."""
        num_found = len(shard.videos) + len(shard.faults)
        num_bytes = sum(video.size for video in shard.videos)
        self._add(
            num_shards_read=1,
            num_videos=num_found,
            num_bytes=num_bytes,
            num_faults=len(shard.faults),
            num_kept=num_found,
            num_kept_bytes=num_bytes,
        )

    def add(self, found: IndexedVideo | PackFault) -> None:
        """Count a video or a fault."""
        if isinstance(found, PackFault):
            self._add(num_videos=1, num_faults=1)
        else:
            self._add(num_videos=1, num_bytes=found.size)

    def end_shard(self) -> None:
        """Count a shard of which all is known now."""
        self._add(num_shards_read=1)

    def _add(self, **more: int) -> None:
        counts = {name: getattr(self._now, name) + count for name, count in more.items()}
        self._now = replace(self._now, **counts)
        self._on_progress(self._now)
