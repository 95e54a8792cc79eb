"""The files that make shards a data set: index, faults, and last the description."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from videomae_train.data.description import index_facts
from videomae_train.data.layout import (
    DESCRIPTION_FILE,
    FAULTS_FILE,
    FORMAT_VERSION,
    INDEX_FILE,
    IndexRow,
    fingerprint_videos,
    write_index,
    write_json,
)
from videomae_train.data.pack_summary import PackFault
from videomae_train.errors import ConfigError


def write_set(
    destination: Path,
    rows: list[IndexRow],
    faults: Sequence[PackFault],
    *,
    splits: tuple[str, ...],
    classes: Sequence[str],
    shards: Sequence[Mapping[str, object]],
    made: Mapping[str, object],
) -> None:
    """Write index, faults and, last, what makes the folder a data set.

    Args:
        destination: A folder that exists.
        rows: By shard and place in it; at least one.
        faults: What is not in the set.
        splits: Names of all splits.
        classes: Class names.
        shards: For each shard name, num_videos, num_bytes, sha256, and number unless the name is `shard_name` of it.
        made: Further fields of dataset.json that say how the set was made.
    """
    write_index(destination / INDEX_FILE, rows, splits)
    write_json(destination / FAULTS_FILE, {"faults": [asdict(fault) for fault in faults]})
    parts = {(split, part) for row in rows for split, part in row.splits.items()}
    content = {
        "format": FORMAT_VERSION,
        "num_videos": len(rows),
        "num_bytes": sum(row.size for row in rows),
        "fingerprint": fingerprint_rows(rows),
        "classes": list(classes),
        "splits": {name: sorted(part for split, part in parts if split == name) for name in splits},
        **made,
        "num_faults": Counter(fault.cause for fault in faults),
        "index": index_facts(destination / INDEX_FILE),
        "shards": list(shards),
    }
    write_json(destination / DESCRIPTION_FILE, content)


def fingerprint_rows(rows: list[IndexRow]) -> str:
    """Condense rows to what they hold; see `fingerprint_videos`."""
    return fingerprint_videos((row.key, row.checksum) for row in rows)


def nothing_readable(destination: Path, faults: Sequence[PackFault]) -> ConfigError:
    """Make the error of a set that would hold no video."""
    causes = ", ".join(f"{count} {cause}" for cause, count in Counter(f.cause for f in faults).items())
    return ConfigError(
        where=str(destination),
        came=f"{len(faults)} videos, none of which can be read ({causes})",
        expected="at least one readable video",
        todo=f"The first one: {faults[0].detail}",
    )
