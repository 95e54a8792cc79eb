"""Which shards a user means, and which split and part each belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from webdataset.shardlists import expand_urls

from videomae_train.data.file_walk import files_below
from videomae_train.data.locations import Location
from videomae_train.data.remote import RemoteFiles
from videomae_train.data.sources.lists import PARTS, SPLIT
from videomae_train.errors import ConfigError

_TAR = ".tar"


@dataclass(frozen=True)
class ShardList:
    """Shards to index.

    Attributes:
        base: Folder that all of them are in.
        names: Places in that folder, with "/" between parts; each once, in the order of names.
    """

    base: Location
    names: tuple[str, ...]

    def place(self, name: str) -> Location:
        """Say where a shard is."""
        return self.base / name


def find_shards(source: str, files: RemoteFiles) -> ShardList:
    """List the shards of a folder, a URL, a pattern or a list.

    Args:
        source: Folder or URL with .tar files in it or below it; addresses in braces such as
            "https://host/train-{000000..000099}.tar"; or a .txt file with an address in each line, relative to it.
        files: Lists remote folders.

    Raises:
        ConfigError: There are none, one is listed twice, or a folder may not be listed.
        ShardError: A server cannot be asked.
    """
    if source.endswith(".txt"):
        return _listed(source, [line.strip() for line in _read_lines(source)])
    if source.endswith(_TAR):
        return _listed(source, expand_urls(source))
    folder = Location.of(source)
    if folder.is_remote:
        names = files.find(folder, _TAR)
    else:
        if not folder.path.is_dir():
            raise _no_shards(source, "a file" if folder.path.exists() else "no such folder")
        names = sorted(
            file.path.relative_to(folder.path).as_posix()
            for file in files_below(folder.path)
            if file.path.name.endswith(_TAR)
        )
    if not names:
        raise _no_shards(source, "no .tar file in it")
    return ShardList(folder, tuple(names))


def _read_lines(source: str) -> list[str]:
    try:
        lines = Path(source).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise _no_shards(source, str(error.strerror)) from error
    folder = Path(source).resolve().parent
    return [str(Location.of(folder) / line.strip()) for line in lines if line.strip()]


def _listed(source: str, addresses: list[str]) -> ShardList:
    places = [str(Location.of(address)) for address in addresses]
    if not places or len(set(places)) < len(places):
        raise _no_shards(source, "a shard listed twice" if places else "an empty list")
    parents = [place.split("/")[:-1] for place in places]
    depth = next(
        (level for level, parts in enumerate(zip(*parents, strict=False)) if len(set(parts)) > 1),
        min(map(len, parents)),
    )
    base = "/".join(parents[0][:depth])
    if len(places) > 1 and (base.endswith(("/", ":")) or not base):
        came = "shards of different servers or of no common folder"
        raise _no_shards(source, came)
    return ShardList(Location(base), tuple(sorted(place.removeprefix(base + "/") for place in places)))


def _no_shards(source: str, came: str) -> ConfigError:
    return ConfigError(
        where=source,
        came=came,
        expected="a folder or URL with .tar files, an address such as .../shard-{000000..000099}.tar, or a .txt list",
        todo="Check the address.",
    )


@dataclass(frozen=True)
class SplitRule:
    """Shards that are a part of a split.

    Attributes:
        split: Name of the split.
        part: Name of the part.
        pattern: Of the shards' names in their folder; * stands for anything, "/" included.
    """

    split: str
    part: str
    pattern: str

    @classmethod
    def parse(cls, text: str) -> SplitRule:
        """Read a rule written as "split1/train=train-*.tar".

        Raises:
            ConfigError: It is not written so.
        """
        name, _, pattern = text.partition("=")
        split, _, part = name.partition("/")
        if not (split and part and pattern):
            raise ConfigError(
                where="--split",
                came=repr(text),
                expected="split, part and pattern, such as split1/train='train-*.tar'",
                todo="Give it once for each part: the split's name, the part's, and which shards are in it.",
            )
        return cls(split, part, pattern)


def parts_of_shards(names: Sequence[str], rules: Sequence[SplitRule]) -> dict[str, dict[str, str]]:
    """Say for each shard which part of which split it is.

    Without rules, folders are parts of a split named "split" if every shard is in one: train/, val/, test/.

    Returns:
        Shard -> {split: part}.

    Raises:
        ConfigError: A rule fits no shard, or a shard would be in two parts of a split.
    """
    if not rules and all("/" in name for name in names):
        folders = [name.split("/")[0] for name in names]
        return {name: {SPLIT: PARTS.get(f, f)} for name, f in zip(names, folders, strict=True)}
    parts: dict[str, dict[str, str]] = {name: {} for name in names}
    for rule in rules:
        fitting = [name for name in names if fnmatchcase(name, rule.pattern)]
        taken = [name for name in fitting if parts[name].get(rule.split, rule.part) != rule.part]
        if not fitting or taken:
            raise ConfigError(
                where=f"--split {rule.split}/{rule.part}={rule.pattern}",
                came=f"{taken[0]} is in another part too" if taken else "fits no shard",
                expected=f"a pattern for shards such as {names[0]}; parts that do not overlap",
                todo="Correct the pattern.",
            )
        for name in fitting:
            parts[name][rule.split] = rule.part
    return parts
