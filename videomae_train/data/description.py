"""dataset.json: what a set is made of, read from wherever it is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any

from videomae_train.data.copying import FileFacts, copy_verified, exclusive
from videomae_train.data.layout import DESCRIPTION_FILE, FORMAT_VERSION, INDEX_FILE, remove_partial_files
from videomae_train.data.locations import Location
from videomae_train.data.reading import Shard
from videomae_train.data.remote import RemoteFiles
from videomae_train.errors import ConfigError, ShardError


@dataclass(frozen=True)
class SetDescription:
    """A set's dataset.json.

    Attributes:
        folder: Where the set is.
        content: All that the file says.
        index: Length and checksum of the index; None in sets from before it was noted.
        shards: By number, as rows of the index name them.
    """

    folder: Location
    content: Mapping[str, Any]
    index: FileFacts | None
    shards: Mapping[int, Shard]


def index_facts(file: Path) -> dict[str, object]:
    """Say of an index what dataset.json says of it."""
    with file.open("rb") as stream:
        return {"num_bytes": file.stat().st_size, "sha256": file_digest(stream, "sha256").hexdigest()}


def read_description(folder: Location, files: RemoteFiles) -> SetDescription:
    """Read the description of a set.

    Raises:
        ConfigError: There is no packed data set.
        ShardError: The file is damaged or of another format.
    """
    file = folder / DESCRIPTION_FILE
    try:
        text = files.read_whole(file) if folder.is_remote else file.path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise _no_set(folder) from None
    except ShardError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise _no_set(folder) from error
        raise
    content = _parse(file, text)
    index = content.get("index")
    return SetDescription(
        folder,
        content,
        None if index is None else FileFacts(index["num_bytes"], index["sha256"]),
        {
            _number(shard): Shard(folder / shard["name"], FileFacts(shard["num_bytes"], shard["sha256"]))
            for shard in content["shards"]
        },
    )


def _parse(file: Location, text: bytes) -> dict[str, Any]:
    try:
        content = json.loads(text)
        version = content.get("format")
    except (ValueError, AttributeError) as error:
        came, expected = f"no JSON object ({error})", "the description of a set"
    else:
        if version == FORMAT_VERSION:
            return content
        came, expected = f"format {version}", f"format {FORMAT_VERSION}"
    raise ShardError(where=str(file), came=came, expected=expected, todo="Pack the data set again.")


def _number(shard: Mapping[str, Any]) -> int:
    """Packed shards have their number in their name, shards of other origin beside it."""
    return shard["number"] if "number" in shard else int(re.sub(r"\D", "", shard["name"]))


def _no_set(folder: Location) -> ConfigError:
    exists = not folder.is_remote and folder.path.is_dir()
    make = f"Make one with `videomae pack SOURCE {folder}`."
    index = f"Shards without an index get one with `videomae index {folder} FOLDER`."
    return ConfigError(
        where=str(folder),
        came="no packed data set" if exists or folder.is_remote else "no such folder",
        expected=f"a folder with {DESCRIPTION_FILE}, {INDEX_FILE} and shards",
        todo=index if folder.is_remote else make,
    )


def local_index(described: SetDescription, files: RemoteFiles, cache_dir: Path) -> Path:
    """Name the index on this machine; that of a remote set is fetched once per machine.

    Raises:
        ConfigError: The cache cannot be written.
        ShardError: The index is missing or another one than the description means.
    """
    source = described.folder / INDEX_FILE
    if not source.is_remote:
        _check_index(source.path, described.index)
        return source.path
    folder = cache_dir.expanduser() / "indexes"
    facts = described.index or FileFacts(files.size(source), None)
    # Without a checksum the whole description stands for the index: another packing has another one.
    key = (
        facts.sha256
        or blake2b(json.dumps([source.address, described.content]).encode(), digest_size=16).hexdigest()
    )
    file = folder / f"{key}.arrow"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(folder / f"{key}.lock"):
            remove_partial_files(folder, [file.name])
            if not facts.are_those_of(file):
                copy_verified(files, source, facts, file)
    except OSError as error:
        raise ConfigError(
            where=f"loader.storage.cache_dir={cache_dir}",
            came=f"no place for the index of {described.folder}: {error.strerror}",
            expected=f"a folder with {facts.num_bytes / 1e6:.1f} MB of room",
            todo="Make room, or choose another folder.",
        ) from error
    return file


def _check_index(file: Path, facts: FileFacts | None) -> None:
    if facts.are_those_of(file) if facts is not None else file.is_file():
        return
    raise ShardError(
        where=str(file),
        came="another index" if file.is_file() else "no such file",
        expected=f"the one that {DESCRIPTION_FILE} beside it means",
        todo="Copy or pack the data set again.",
    )


def check_own_shards(described: SetDescription) -> None:
    """Check that the shards in the set's own folder are there in full length; raises as `check_local_shards`."""
    own = [shard for shard in described.shards.values() if _is_own(described, shard)]
    check_local_shards(own, todo="Copy or pack the data set again.")


def shards_elsewhere(described: SetDescription) -> frozenset[int]:
    """List the shards outside of the set's folder: indexed in place, or left behind by staging."""
    return frozenset(number for number, shard in described.shards.items() if not _is_own(described, shard))


def _is_own(described: SetDescription, shard: Shard) -> bool:
    return shard.place.address.startswith(f"{described.folder.address.rstrip('/')}/")


def check_local_shards(shards: Iterable[Shard], *, todo: str) -> None:
    """Check that shards of this machine are there in full length; remote ones are checked as they are read.

    Args:
        shards: Some of a set.
        todo: What a user should do about one that is not.

    Raises:
        ShardError: One is missing or of another length.
    """
    for shard in shards:
        if shard.place.is_remote:
            continue
        path = shard.place.path
        found = path.stat().st_size if path.is_file() else None
        if found != shard.facts.num_bytes:
            raise ShardError(
                where=str(path),
                came="no such file" if found is None else f"{found} bytes",
                expected=f"{shard.facts.num_bytes} bytes",
                todo=todo,
            )
