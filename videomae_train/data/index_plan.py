"""What indexing will do, decided before any shard is read: which shards, named how, and whose part each is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from videomae_train.data.layout import FORMAT_VERSION
from videomae_train.data.locations import Location
from videomae_train.data.parts import Part
from videomae_train.data.remote import RemoteOptions
from videomae_train.data.shard_lists import ShardList, SplitRule, parts_of_shards
from videomae_train.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class IndexOptions:
    """How shards are indexed.

    Attributes:
        splits: Which shards are which part of which split; none takes folders such as train/ and val/.
        label_key: Labels are under this key of each sample's .json; None takes them from .cls, where there is one.
        unlabelled: Take no labels.
        classes: Names of the classes 0, 1, 2 ... that labels are numbers of; empty takes them from the labels.
        key_with_shard: Name samples "<shard>/<key>", for shards that each number their samples anew.
        processes: Videos are decoded in so many child processes.
        timeout_sec: A video that takes a child longer than this is a fault.
        part: Read only these shards; the set is whole when `index_shards` ran without one. None reads all that is
            missing.
        overwrite: Replace an index that is there already.
        remote: Patience with servers.
    """

    splits: Sequence[SplitRule] = ()
    label_key: str | None = None
    unlabelled: bool = False
    classes: Sequence[str] = ()
    key_with_shard: bool = False
    processes: int = 1
    timeout_sec: float = 300.0
    part: Part | None = None
    overwrite: bool = False
    remote: RemoteOptions = field(default_factory=RemoteOptions)


@dataclass(frozen=True)
class IndexPlan:
    """Which shards are indexed, and to what.

    Attributes:
        shards: All of them; a shard's number is its place in their names.
        folder: Where the index goes.
        options: How.
        splits: Of each shard {split: part}.
    """

    shards: ShardList
    folder: Location
    options: IndexOptions
    splits: tuple[dict[str, str], ...]

    def place(self, number: int) -> Location:
        """Say where a shard is."""
        return self.shards.place(self.shards.names[number])

    def name_in_set(self, number: int) -> str:
        """Name a shard as the set does: absolutely, unless the index goes into the shards' own folder."""
        return self.shards.names[number] if self._is_beside else str(self.place(number))

    def key_in_set(self, number: int, key: str) -> str:
        """Name a sample of a shard as the set does."""
        name = self.shards.names[number].removesuffix(".tar")
        return f"{name}/{key}" if self.options.key_with_shard else key

    @property
    def identity(self) -> dict[str, object]:
        """All that decides the bytes of the set but the shards' own, JSON; indexings with equal ones can be mixed."""
        names = [self.name_in_set(number) for number in range(len(self.shards.names))]
        return {
            "work": "indexing",
            "format": FORMAT_VERSION,
            "source": "." if self._is_beside else str(self.shards.base),
            "num_shards": len(names),
            "shards": blake2b(repr(names).encode(), digest_size=16).hexdigest(),
            "splits": [f"{rule.split}/{rule.part}={rule.pattern}" for rule in self.options.splits],
            "label_key": self.options.label_key,
            "unlabelled": self.options.unlabelled,
            "classes": list(self.options.classes),
            "key_with_shard": self.options.key_with_shard,
        }

    def reading(self, number: int) -> dict[str, object]:
        """Say on what depends what is found in a shard, beside its bytes; JSON."""
        return {
            "work": "indexing",
            "format": FORMAT_VERSION,
            "shard": self.name_in_set(number),
            "label_key": self.options.label_key,
        }

    @property
    def _is_beside(self) -> bool:
        return self.folder == self.shards.base


def plan_indexing(shards: ShardList, destination: Path | None, options: IndexOptions) -> IndexPlan:
    """Decide where the index goes and which split each shard is a part of.

    Args:
        shards: All of them.
        destination: Folder to write into; None writes beside the shards, which have to be on this machine.
        options: How.

    Raises:
        ConfigError: No folder to write into, or splits that do not fit the shards.
    """
    if destination is None and shards.base.is_remote:
        raise ConfigError(
            where=str(shards.base),
            came="shards on a server, and no folder for their index",
            expected="a folder on this machine to write into",
            todo="Name it as the second argument; its files may be uploaded beside the shards afterwards.",
        )
    splits = parts_of_shards(shards.names, options.splits)
    folder = shards.base if destination is None else Location.of(destination)
    return IndexPlan(shards, folder, options, tuple(splits[name] for name in shards.names))
