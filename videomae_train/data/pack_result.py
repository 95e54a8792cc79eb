"""What packing makes of finished shards: the set's index, its description, and a summary."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path

from videomae_train.data.finished_shard import FinishedShard
from videomae_train.data.layout import IndexRow
from videomae_train.data.pack_plan import PackOptions, describe_reencoding
from videomae_train.data.pack_summary import PackFault, PackSummary
from videomae_train.data.parts import Part
from videomae_train.data.set_files import fingerprint_rows, nothing_readable, write_set
from videomae_train.data.sources import SourceSet


def complete_set(
    source: SourceSet, destination: Path, options: PackOptions, shards: list[FinishedShard]
) -> None:
    """Write index, faults and, last, what makes the folder a data set.

    Raises:
        ConfigError: No video can be read.
    """
    rows, faults = _rows(shards), _faults(shards)
    if not rows:
        raise nothing_readable(destination, faults)
    write_set(
        destination,
        rows,
        faults,
        splits=tuple(sorted({split for video in source.videos for split in video.splits})),
        classes=source.classes,
        shards=[asdict(shard.file) for shard in shards if shard.file is not None],
        made={"packed": _how_packed(source, options), "notes": _notes(source, shards)},
    )


def _how_packed(source: SourceSet, options: PackOptions) -> dict[str, object]:
    return {
        "layout": source.layout,
        "seed": options.seed,
        "shard_max_videos": options.shard_max_videos,
        "shard_max_bytes": options.shard_max_bytes,
        "reencoding": describe_reencoding(options.reencoding),
    }


def summarise(
    source: SourceSet, destination: Path, part: Part | None, shards: list[FinishedShard], elapsed_sec: float
) -> PackSummary:
    """Say what was made."""
    rows = _rows(shards)
    parts = Counter(f"{split}/{part}" for row in rows for split, part in row.splits.items())
    return PackSummary(
        destination=destination,
        part=None if part is None else str(part),
        num_videos=len(rows),
        num_bytes=sum(row.size for row in rows),
        num_frames=sum(row.num_frames for row in rows),
        duration_sec=sum(shard.duration_sec for shard in shards),
        classes=source.classes,
        splits=dict(sorted(parts.items())),
        shards=tuple(shard.file for shard in shards if shard.file is not None),
        fingerprint=fingerprint_rows(rows),
        faults=tuple(_faults(shards)),
        notes=tuple(_notes(source, shards)),
        elapsed_sec=elapsed_sec,
    )


def _rows(shards: list[FinishedShard]) -> list[IndexRow]:
    return [row for shard in shards for row in shard.rows]


def _faults(shards: list[FinishedShard]) -> list[PackFault]:
    return [fault for shard in shards for fault in shard.faults]


def _notes(source: SourceSet, shards: list[FinishedShard]) -> list[str]:
    num_damaged = sum(shard.num_damaged for shard in shards)
    damaged = f"{num_damaged} videos have frames that the decoder flags as damaged"
    return [*source.notes, *([damaged] if num_damaged else [])]
