"""Staging: a set's shards copied to a disk of this machine, for runs that should not read over the network.

The copy has the index of the original, so that a run on it has the same samples in the same order and goes on from the
same checkpoints. Shards that are left behind stay in its list at their old place, and can still be read there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from videomae_train.data.copying import FileFacts, alone_in, copy_verified
from videomae_train.data.description import SetDescription, local_index, read_description
from videomae_train.data.disk_trouble import no_room
from videomae_train.data.index import WHOLE_SET, PackedDataset
from videomae_train.data.layout import (
    DESCRIPTION_FILE,
    INDEX_FILE,
    SHARDS,
    remove_partial_files,
    shard_name,
    write_json,
)
from videomae_train.data.locations import Location
from videomae_train.data.reading import Shard, StorageOptions
from videomae_train.data.remote import RemoteFiles
from videomae_train.errors import ConfigError


@dataclass(frozen=True)
class StageProgress:
    """How far staging has come.

    Attributes:
        num_bytes: Bytes that are at their place, those that were there before included.
        num_total_bytes: Bytes to stage.
    """

    num_bytes: int
    num_total_bytes: int


@dataclass(frozen=True)
class StageSummary:
    """What staging did.

    Attributes:
        destination: What data.path has to be.
        num_shards: Shards there.
        num_left_behind: Shards of the set that the selection does not need.
        num_kept: Shards that were there already, whole.
        num_bytes: Bytes of the shards there.
    """

    destination: Path
    num_shards: int
    num_left_behind: int
    num_kept: int
    num_bytes: int


@dataclass
class _Account:
    """Counts bytes of several threads."""

    num_total: int
    on_progress: Callable[[StageProgress], None]
    num_bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, num_bytes: int) -> None:
        with self.lock:
            self.num_bytes += num_bytes
            self.on_progress(StageProgress(self.num_bytes, self.num_total))


def stage(
    source: str | Path,
    destination: Path,
    on_progress: Callable[[StageProgress], None],
    *,
    selections: Iterable[str] = (WHOLE_SET,),
    threads: int = 4,
    storage: StorageOptions | None = None,
) -> StageSummary:
    """Copy a set, or the shards that some selections need.

    Every file is checked against the set's checksums and renamed when it is whole. Called again, it keeps what is whole
    and copies the rest; further selections come to those that are there. Of several processes that stage to one folder
    one works at a time; it removes what killed ones left of files.

    Args:
        source: Folder or URL of the set.
        destination: Folder on this machine.
        on_progress: Called after each piece, from any thread.
        selections: As `PackedDataset.select` names them.
        threads: Shards that are copied at a time.
        storage: Patience with servers.

    Raises:
        ConfigError: The destination holds another set or is the source, or a selection does not exist.
        ShardError: A shard cannot be read, is another one, or cannot be written.
    """
    storage = storage or StorageOptions()
    files = RemoteFiles(storage.remote)
    described = read_description(Location.of(source), files)
    _staged_before(described, destination)  # refuses a folder that is not free, before anything is made there
    dataset = PackedDataset.open(source, storage)
    wanted = {number for name in selections for number in set(dataset.select(name).shard_numbers.tolist())}
    try:
        destination.mkdir(parents=True, exist_ok=True)
        with alone_in(destination) as is_alone:
            if is_alone:
                remove_partial_files(destination, (SHARDS, INDEX_FILE, DESCRIPTION_FILE))
            # Asked for again: another process may have staged more while this one waited.
            numbers = sorted(wanted | _staged_before(described, destination))
            shards = [(described.shards[number], destination / shard_name(number)) for number in numbers]
            account = _Account(sum(shard.facts.num_bytes for shard, _ in shards), on_progress)
            with ThreadPoolExecutor(threads) as pool:
                kept = list(pool.map(lambda item: _stage_shard(files, item[0], item[1], account), shards))
            _copy_index(described, destination, files, storage)
            write_json(destination / DESCRIPTION_FILE, _description(described, set(numbers)))
    except OSError as error:
        todo = "Make room and repeat the command, which goes on; or stage less with --selection."
        raise no_room(destination, error, todo) from error
    return StageSummary(
        destination.resolve(), len(shards), len(described.shards) - len(shards), sum(kept), account.num_total
    )


def _stage_shard(files: RemoteFiles, shard: Shard, file: Path, account: _Account) -> bool:
    """Copy a shard unless it is there; say whether it was."""
    if shard.facts.are_those_of(file):
        account.add(shard.facts.num_bytes)
        return True
    copy_verified(files, shard.place, shard.facts, file, account.add)
    return False


def _copy_index(
    described: SetDescription, destination: Path, files: RemoteFiles, storage: StorageOptions
) -> None:
    index = local_index(described, files, storage.cache_dir)
    facts = described.index or FileFacts(index.stat().st_size, None)
    copy_verified(files, Location.of(index), facts, destination / INDEX_FILE)


def _description(described: SetDescription, staged: set[int]) -> dict[str, object]:
    """Change the names of shards: staged ones are beside the description, the others stay where they are."""
    shards = [
        {
            **content,
            "name": shard_name(number) if number in staged else str(described.shards[number].place),
            "number": number,
        }
        for number, content in zip(described.shards, described.content["shards"], strict=True)
    ]
    return {**described.content, "shards": shards}


def _staged_before(described: SetDescription, destination: Path) -> set[int]:
    """List the shards of this set that an earlier call has staged.

    Raises:
        ConfigError: The destination is not free for this set.
    """
    place = Location.of(destination)
    if place == described.folder:
        raise _not_free(destination, "the set itself")
    if not (destination / DESCRIPTION_FILE).exists():
        return set()
    before = read_description(place, RemoteFiles(StorageOptions().remote))
    same = all(before.content[name] == described.content[name] for name in ("fingerprint", "num_videos"))
    if not same or set(before.shards) != set(described.shards):
        raise _not_free(destination, "another set")
    return {number for number, shard in before.shards.items() if shard.place == place / shard_name(number)}


def _not_free(destination: Path, came: str) -> ConfigError:
    return ConfigError(
        where=str(destination),
        came=came,
        expected="an empty or new folder, or an earlier copy of the same set",
        todo="Choose another folder.",
    )
