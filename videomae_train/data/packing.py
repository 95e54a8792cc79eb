"""Packing: from videos and labels to shards and an index.

Which video goes to which shard is decided before any is opened, by a seeded hash; therefore the same source
gives the same bytes, whatever the number of processes.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
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
from videomae_train.data.pack_summary import PackFault, PackProgress, PackSummary
from videomae_train.data.probing import Probe, ProbedVideo, probed_in_order
from videomae_train.data.shards import ShardFacts, ShardSample, scan_shard, write_shard
from videomae_train.data.sources import SourceSet, SourceVideo
from videomae_train.errors import ConfigError
from videomae_train.randomness import keyed_permutation


@dataclass(frozen=True)
class PackOptions:
    """How a source is packed.

    Attributes:
        seed: Decides the order of the videos.
        shard_max_videos: A shard is closed when it has so many.
        shard_max_bytes: A shard is closed before it grows beyond this, counted in source files.
        processes: Videos are probed in so many child processes; 1 works without any.
        overwrite: Replace a data set that is there already.
    """

    seed: int = 0
    shard_max_videos: int = 1000
    shard_max_bytes: int = 512 * 2**20
    processes: int = 1
    overwrite: bool = False


def pack(
    source: SourceSet,
    destination: Path,
    options: PackOptions,
    on_progress: Callable[[PackProgress], None],
) -> PackSummary:
    """Write a source's videos into shards with an index beside them.

    The videos' bytes are kept as they are. Each file is written under a temporary name and renamed; the
    description comes last, so that a folder without one is an unfinished set.

    Args:
        source: The videos.
        destination: Folder to make or to fill.
        options: How to pack.
        on_progress: Called after each video.

    Raises:
        ConfigError: A data set is there already, or no video can be decoded.
    """
    started = time.monotonic()
    _make_room(destination, options.overwrite)
    packer = _Packer(source, destination, on_progress)
    plan = _plan_shards(source.videos, options)
    with probed_in_order([video for shard in plan for video in shard], options.processes) as probes:
        for number, videos in enumerate(plan):
            packer.write_shard(number, islice(probes, len(videos)))
    if not packer.rows:
        raise _nothing_readable(destination, packer.faults)
    packer.write_index()
    packer.write_description(options)
    return packer.summary(time.monotonic() - started)


def _make_room(destination: Path, overwrite: bool) -> None:
    """Create the folder; remove an old set's files, the description first so that no half of it looks
    whole."""
    if (destination / DESCRIPTION_FILE).exists() and not overwrite:
        raise ConfigError(
            where=str(destination),
            came="a packed data set that is there already",
            expected="a new or empty folder",
            todo="Choose another folder, or allow overwriting.",
        )
    destination.mkdir(parents=True, exist_ok=True)
    for pattern in (DESCRIPTION_FILE, INDEX_FILE, FAULTS_FILE, "shard-*.tar", "*.partial"):
        for file in destination.glob(pattern):
            file.unlink()


def _plan_shards(videos: tuple[SourceVideo, ...], options: PackOptions) -> list[list[SourceVideo]]:
    """Permute the videos and cut the sequence into shards, by number and by size of the source files."""
    shards: list[list[SourceVideo]] = []
    num_bytes = 0
    for place in keyed_permutation(len(videos), options.seed, "packing order").tolist():
        size = _file_size(videos[place].path)
        is_full = shards and len(shards[-1]) >= options.shard_max_videos
        if not shards or is_full or num_bytes + size > options.shard_max_bytes:
            shards.append([])
            num_bytes = 0
        shards[-1].append(videos[place])
        num_bytes += size
    return shards


def _file_size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


class _Packer:
    """Writes a set file by file and keeps account of what is in it."""

    def __init__(
        self, source: SourceSet, destination: Path, on_progress: Callable[[PackProgress], None]
    ) -> None:
        self._source = source
        self._destination = destination
        self._on_progress = on_progress
        self._keys = sample_keys(video.name for video in source.videos)
        self._splits = tuple(sorted({split for video in source.videos for split in video.splits}))
        self._shards: list[ShardFacts] = []
        self.faults: list[PackFault] = []
        self._num_done = self._num_bytes = self._num_damaged = 0
        self._duration_sec = 0.0
        self.rows: list[IndexRow] = []

    def write_shard(self, number: int, probes: Iterable[Probe]) -> None:
        """Write one shard; none if no video of it can be read."""
        file, first = self._destination / shard_name(number), len(self.rows)
        shard = write_shard(file, self._samples(number, probes))
        if shard is None:
            return
        self._shards.append(shard)
        ranges = scan_shard(file)
        for place, row in enumerate(self.rows[first:], start=first):
            offset, size = ranges[f"{row.key}.{row.extension}"]
            self.rows[place] = replace(row, offset=offset, size=size)

    def _samples(self, number: int, probes: Iterable[Probe]) -> Iterator[ShardSample]:
        for video, result in probes:
            self._num_done += 1
            if isinstance(result, ProbedVideo):
                row = self._row(number, video, result)
                self.rows.append(row)
                yield ShardSample(row.key, row.extension, result.content, self._metadata(video, result))
                self._num_bytes += len(result.content)
                self._duration_sec += result.facts.duration_sec
                self._num_damaged += result.facts.num_damaged_frames > 0
            else:
                self.faults.append(PackFault(video.name, result.cause, result.detail))
            self._on_progress(
                PackProgress(self._num_done, len(self._source.videos), self._num_bytes, len(self.faults))
            )

    def _row(self, number: int, video: SourceVideo, probed: ProbedVideo) -> IndexRow:
        return IndexRow(
            key=self._keys[video.name],
            shard=number,
            offset=0,  # known when the shard is written
            size=0,
            extension=re.sub("[^a-z0-9]", "", video.path.suffix.lower()) or "video",
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

    def write_index(self) -> None:
        """Write the index and the list of faults."""
        write_index(self._destination / INDEX_FILE, self.rows, self._splits)
        write_json(self._destination / FAULTS_FILE, {"faults": [asdict(fault) for fault in self.faults]})

    def write_description(self, options: PackOptions) -> None:
        """Write what makes the folder a data set."""
        parts = [(split, part) for row in self.rows for split, part in row.splits.items()]
        content = {
            "format": FORMAT_VERSION,
            "num_videos": len(self.rows),
            "num_bytes": self._num_bytes,
            "fingerprint": self._fingerprint(),
            "classes": list(self._source.classes),
            "splits": {s: sorted({part for split, part in parts if split == s}) for s in self._splits},
            "packed": {
                "layout": self._source.layout,
                "seed": options.seed,
                "shard_max_videos": options.shard_max_videos,
                "shard_max_bytes": options.shard_max_bytes,
            },
            "notes": self._notes(),
            "num_faults": Counter(fault.cause for fault in self.faults),
            "shards": [asdict(shard) for shard in self._shards],
        }
        write_json(self._destination / DESCRIPTION_FILE, content)

    def summary(self, elapsed_sec: float) -> PackSummary:
        """Say what was made."""
        parts = Counter(f"{split}/{part}" for row in self.rows for split, part in row.splits.items())
        return PackSummary(
            destination=self._destination,
            num_videos=len(self.rows),
            num_bytes=self._num_bytes,
            num_frames=sum(row.num_frames for row in self.rows),
            duration_sec=self._duration_sec,
            classes=self._source.classes,
            splits=dict(sorted(parts.items())),
            shards=tuple(self._shards),
            fingerprint=self._fingerprint(),
            faults=tuple(self.faults),
            notes=tuple(self._notes()),
            elapsed_sec=elapsed_sec,
        )

    def _fingerprint(self) -> str:
        return fingerprint_videos((row.key, row.checksum) for row in self.rows)

    def _notes(self) -> list[str]:
        damaged = f"{self._num_damaged} videos have frames that the decoder flags as damaged"
        return [*self._source.notes, *([damaged] if self._num_damaged else [])]


def _nothing_readable(destination: Path, faults: list[PackFault]) -> ConfigError:
    causes = ", ".join(f"{count} {cause}" for cause, count in Counter(f.cause for f in faults).items())
    return ConfigError(
        where=str(destination),
        came=f"{len(faults)} videos, none of which can be read ({causes})",
        expected="at least one readable video",
        todo=f"The first one: {faults[0].detail}",
    )
