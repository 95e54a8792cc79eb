"""Packing: from videos and labels to shards and an index.

Shards are finished one by one, each with a receipt of what is in it; the index and the description are made of
the receipts. An interrupted packing therefore continues, and several jobs can fill one folder.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from pathlib import Path

from videomae_train.data.keys import sample_keys
from videomae_train.data.layout import (
    DESCRIPTION_FILE,
    FAULTS_FILE,
    FORMAT_VERSION,
    INDEX_FILE,
    IndexRow,
    fingerprint_videos,
    shard_name,
    write_index,
    write_json,
)
from videomae_train.data.pack_plan import (
    PackOptions,
    PackPlan,
    Part,
    describe_reencoding,
    options_for,
    plan_packing,
)
from videomae_train.data.pack_summary import PackFault, PackProgress, PackSummary
from videomae_train.data.probing import Probe, ProbedVideo, probe_source, probed_in_order
from videomae_train.data.shards import ShardSample, scan_shard, write_shard
from videomae_train.data.sources import SourceSet, SourceVideo
from videomae_train.data.unfinished import FinishedShard, UnfinishedSet
from videomae_train.errors import ConfigError

__all__ = ["PackOptions", "Part", "pack"]


def pack(
    source: SourceSet,
    destination: Path,
    options: PackOptions,
    on_progress: Callable[[PackProgress], None],
) -> PackSummary:
    """Pack a source's videos into shards with an index beside them.

    Each file is written under a temporary name and renamed. Killed at any moment and called again with the same
    source and options, it keeps the shards that are finished and whole, and the result is the same byte for byte.
    With `options.part` it fills these shards only; a call without one packs what is still missing and completes
    the set.

    Args:
        source: The videos.
        destination: Folder to make or to fill.
        options: How to pack.
        on_progress: Called at the start and after each video.

    Raises:
        ConfigError: Another data set is there already, or no video can be decoded.
    """
    started = time.monotonic()
    _check_part(options)
    options = options_for(source, options)
    plan = plan_packing(source, options)
    unfinished = UnfinishedSet(destination, plan.identity)
    unfinished.begin(overwrite=options.overwrite)
    shards = _pack_shards(source, destination, plan, options, unfinished, on_progress)
    if options.part is None:
        unfinished.remove_leftovers()
        _complete(source, destination, options, shards)
        unfinished.end()
    return _summary(source, destination, options.part, shards, time.monotonic() - started)


def _check_part(options: PackOptions) -> None:
    if options.part is not None and options.overwrite:
        raise ConfigError(
            where="overwrite",
            came=f"together with part {options.part}",
            expected="parts that fill a folder together, of which none removes the others' shards",
            todo="Remove the old set first, then start the parts.",
        )


def _pack_shards(
    source: SourceSet,
    destination: Path,
    plan: PackPlan,
    options: PackOptions,
    unfinished: UnfinishedSet,
    on_progress: Callable[[PackProgress], None],
) -> list[FinishedShard]:
    """Keep the shards that are finished, write the others; return all of them in order."""
    numbers = plan.shard_numbers(options.part)
    shards = {number: shard for number in numbers if (shard := unfinished.load(number)) is not None}
    rest = [number for number in numbers if number not in shards]
    total = sum(len(plan.shards[number]) for number in numbers)
    writer = _ShardWriter(source, destination, _Account(total, list(shards.values()), on_progress))
    with probed_in_order(
        [video for number in rest for video in plan.shards[number]],
        processes=options.processes,
        timeout_sec=options.timeout_sec,
        probe=partial(probe_source, reencoding=options.reencoding),
    ) as probes:
        for number in rest:
            unfinished.remove_leftovers(number)
            shards[number] = writer.write(number, islice(probes, len(plan.shards[number])))
            unfinished.save(number, shards[number])
    return [shards[number] for number in numbers]


class _Account:
    """Counts what is done and tells the caller."""

    def __init__(
        self, num_total: int, kept: list[FinishedShard], on_progress: Callable[[PackProgress], None]
    ) -> None:
        num_faults = sum(len(shard.faults) for shard in kept)
        num_kept = sum(len(shard.rows) for shard in kept) + num_faults
        num_bytes = sum(row.size for shard in kept for row in shard.rows)
        self._now = PackProgress(num_kept, num_total, num_bytes, num_faults, num_kept, num_bytes)
        self._on_progress = on_progress
        on_progress(self._now)

    def add(self, num_bytes: int, num_faults: int) -> None:
        """Count one more video."""
        now = self._now
        self._now = replace(
            now,
            num_done=now.num_done + 1,
            num_bytes=now.num_bytes + num_bytes,
            num_faults=now.num_faults + num_faults,
        )
        self._on_progress(self._now)


class _ShardWriter:
    """Writes shards and says what is in them."""

    def __init__(self, source: SourceSet, destination: Path, account: _Account) -> None:
        self._source = source
        self._destination = destination
        self._account = account
        self._keys = sample_keys(video.name for video in source.videos)

    def write(self, number: int, probes: Iterable[Probe]) -> FinishedShard:
        """Write one shard; no file if no video of it can be read."""
        videos: list[tuple[IndexRow, ProbedVideo]] = []
        faults: list[PackFault] = []
        file = self._destination / shard_name(number)
        facts = write_shard(file, self._samples(number, probes, videos, faults))
        ranges = scan_shard(file) if facts is not None else {}
        rows = [row for row, _ in videos]
        return FinishedShard(
            file=facts,
            rows=tuple(_placed(row, ranges) for row in rows),
            faults=tuple(faults),
            duration_sec=sum(probed.facts.duration_sec for _, probed in videos),
            num_damaged=sum(probed.facts.num_damaged_frames > 0 for _, probed in videos),
        )

    def _samples(
        self,
        number: int,
        probes: Iterable[Probe],
        videos: list[tuple[IndexRow, ProbedVideo]],
        faults: list[PackFault],
    ) -> Iterator[ShardSample]:
        for video, result in probes:
            if isinstance(result, ProbedVideo):
                row = self._row(number, video, result)
                yield ShardSample(row.key, row.extension, result.content, self._metadata(video, result))
                self._account.add(len(result.content), 0)
                videos.append((row, replace(result, content=b"")))
            else:
                faults.append(PackFault(video.name, result.cause, result.detail))
                self._account.add(0, 1)

    def _row(self, number: int, video: SourceVideo, probed: ProbedVideo) -> IndexRow:
        return IndexRow(
            key=self._keys[video.name],
            shard=number,
            offset=0,  # known when the shard is written
            size=0,
            extension=probed.extension,
            label=video.label,
            num_frames=probed.facts.num_frames,
            fps=probed.facts.fps,
            height=probed.facts.height,
            width=probed.facts.width,
            checksum=probed.checksum,
            splits=dict(video.splits),
        )

    def _metadata(self, video: SourceVideo, probed: ProbedVideo) -> dict[str, object]:
        """What stands beside the video in the shard, for readers of plain WebDataset."""
        return {
            "origin": video.name,
            "label": video.label,
            "class": self._source.classes[video.label] if video.label >= 0 else None,
            "splits": dict(video.splits),
            **asdict(probed.facts),
        }


def _placed(row: IndexRow, ranges: dict[str, tuple[int, int]]) -> IndexRow:
    offset, size = ranges[f"{row.key}.{row.extension}"]
    return replace(row, offset=offset, size=size)


def _complete(
    source: SourceSet, destination: Path, options: PackOptions, shards: list[FinishedShard]
) -> None:
    """Write index, faults and, last, what makes the folder a data set."""
    rows, faults = _rows(shards), _faults(shards)
    if not rows:
        raise _nothing_readable(destination, faults)
    splits = tuple(sorted({split for video in source.videos for split in video.splits}))
    write_index(destination / INDEX_FILE, rows, splits)
    write_json(destination / FAULTS_FILE, {"faults": [asdict(fault) for fault in faults]})
    parts = {(split, part) for row in rows for split, part in row.splits.items()}
    content = {
        "format": FORMAT_VERSION,
        "num_videos": len(rows),
        "num_bytes": sum(row.size for row in rows),
        "fingerprint": _fingerprint(rows),
        "classes": list(source.classes),
        "splits": {name: sorted(part for split, part in parts if split == name) for name in splits},
        "packed": {
            "layout": source.layout,
            "seed": options.seed,
            "shard_max_videos": options.shard_max_videos,
            "shard_max_bytes": options.shard_max_bytes,
            "reencoding": describe_reencoding(options.reencoding),
        },
        "notes": _notes(source, shards),
        "num_faults": Counter(fault.cause for fault in faults),
        "shards": [asdict(shard.file) for shard in shards if shard.file is not None],
    }
    write_json(destination / DESCRIPTION_FILE, content)


def _summary(
    source: SourceSet, destination: Path, part: Part | None, shards: list[FinishedShard], elapsed_sec: float
) -> PackSummary:
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
        fingerprint=_fingerprint(rows),
        faults=tuple(_faults(shards)),
        notes=tuple(_notes(source, shards)),
        elapsed_sec=elapsed_sec,
    )


def _rows(shards: list[FinishedShard]) -> list[IndexRow]:
    return [row for shard in shards for row in shard.rows]


def _faults(shards: list[FinishedShard]) -> list[PackFault]:
    return [fault for shard in shards for fault in shard.faults]


def _fingerprint(rows: list[IndexRow]) -> str:
    return fingerprint_videos((row.key, row.checksum) for row in rows)


def _notes(source: SourceSet, shards: list[FinishedShard]) -> list[str]:
    num_damaged = sum(shard.num_damaged for shard in shards)
    damaged = f"{num_damaged} videos have frames that the decoder flags as damaged"
    return [*source.notes, *([damaged] if num_damaged else [])]


def _nothing_readable(destination: Path, faults: list[PackFault]) -> ConfigError:
    causes = ", ".join(f"{count} {cause}" for cause, count in Counter(f.cause for f in faults).items())
    return ConfigError(
        where=str(destination),
        came=f"{len(faults)} videos, none of which can be read ({causes})",
        expected="at least one readable video",
        todo=f"The first one: {faults[0].detail}",
    )
