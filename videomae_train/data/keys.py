"""Names of videos inside shards."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import PurePosixPath

_MAX_LENGTH = 150


def sample_keys(names: Iterable[str]) -> dict[str, str]:
    """Give each source name a key that survives tar files, webdataset and file systems.

    A key is the path without its extension, "/" turned into "__" and anything unusual, dots included
    (webdataset cuts names at the first), into "_". Names that would meet in one key, or are too long, get a
    hash of the whole name appended, so that no two videos ever share one.

    Returns:
        Name -> key, for each name.

    >>> sample_keys(["run/a.mp4", "walk/a.mp4", "walk/a.avi"])
    {'run/a.mp4': 'run__a', 'walk/a.mp4': 'walk__a-e0cd2464', 'walk/a.avi': 'walk__a-1d8ba66e'}
    """
    plain = {name: _plain_key(name) for name in names}
    # Keys that differ in case only would meet again on a file system that folds it.
    counts = Counter(key.lower() for key in plain.values())
    return {
        name: key if counts[key.lower()] == 1 and len(key) <= _MAX_LENGTH else _hashed_key(key, name)
        for name, key in plain.items()
    }


def _plain_key(name: str) -> str:
    path = PurePosixPath(name).with_suffix("").as_posix().replace("/", "__")
    return re.sub(r"[^A-Za-z0-9_-]", "_", path)


def _hashed_key(key: str, name: str) -> str:
    return f"{key[:_MAX_LENGTH]}-{blake2b(name.encode(), digest_size=6).hexdigest()}"
