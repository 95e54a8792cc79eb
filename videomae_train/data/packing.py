"""Packing: from videos and labels to shards and an index.

Shards are finished one by one, each with a receipt of what is in it; the index and the description are made of
the receipts. An interrupted packing therefore continues, and several jobs can fill one folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from pathlib import Path

from videomae_train.data.disk_trouble import full_disk_named
from videomae_train.data.finished_shard import FinishedShard
from videomae_train.data.keys import sample_keys
from videomae_train.data.layout import SHARDS, IndexRow, shard_name
from videomae_train.data.pack_plan import (
    PackOptions,
    PackPlan,
    options_for,
    plan_packing,
)
from videomae_train.data.pack_result import complete_set, summarise
from videomae_train.data.pack_summary import PackFault, PackProgress, PackSummary
from videomae_train.data.parts import check_part
from videomae_train.data.probing import Probe, ProbedVideo, probe_source, probed_in_order
from videomae_train.data.shards import ShardSample, scan_shard, write_shard
from videomae_train.data.sources import SourceSet, SourceVideo
from videomae_train.data.unfinished import UnfinishedSet

__all__ = ["PackOptions", "pack"]


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
        ShardError: The disk of the destination is full.
        VideoMAETrainError: A disk of the source is in trouble.
    """
    started = time.monotonic()
    check_part(options.part, overwrite=options.overwrite)
    options = options_for(source, options)
    plan = plan_packing(source, options)
    unfinished = UnfinishedSet(destination, plan.identity, own_shards=SHARDS)
    with full_disk_named(destination):
        unfinished.begin(overwrite=options.overwrite)
        shards = _pack_shards(source, destination, plan, options, unfinished, on_progress)
        if options.part is None:
            unfinished.remove_leftovers()
            complete_set(source, destination, options, shards)
            unfinished.end()
    return summarise(source, destination, options.part, shards, time.monotonic() - started)


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
    shards = _finished(numbers, destination, plan, unfinished)
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
            unfinished.save(number, shards[number].as_json(), of=plan.identity)
    return [shards[number] for number in numbers]


def _finished(
    numbers: list[int], destination: Path, plan: PackPlan, unfinished: UnfinishedSet
) -> dict[int, FinishedShard]:
    """Find the shards that are finished and still what was written."""
    receipts = {number: unfinished.load(number, of=plan.identity) for number in numbers}
    shards = {n: FinishedShard.from_json(content) for n, content in receipts.items() if content is not None}
    return {number: shard for number, shard in shards.items() if shard.is_whole(destination)}


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
