"""What indexing makes of the videos that it has found: labels, rows, and the files of the set."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from videomae_train.data.layout import IndexRow
from videomae_train.data.locations import Location
from videomae_train.data.pack_summary import PackFault, PackSummary
from videomae_train.data.probing import ProbedVideo
from videomae_train.data.remote import RemoteOptions
from videomae_train.data.set_files import fingerprint_rows, nothing_readable, write_set
from videomae_train.data.shard_lists import SplitRule
from videomae_train.data.shards import ShardFacts
from videomae_train.data.sources.videos import class_names
from videomae_train.data.tar_probing import TarTask
from videomae_train.data.tar_samples import SampleCause
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
    overwrite: bool = False
    remote: RemoteOptions = field(default_factory=RemoteOptions)


Found = Sequence[tuple[TarTask, ProbedVideo]]


def complete_index(
    folder: Location,
    videos: Found,
    faults: Sequence[PackFault],
    shards: Mapping[int, ShardFacts],
    parts: Mapping[int, dict[str, str]],
    options: IndexOptions,
    started: float,
) -> PackSummary:
    """Write the files of the set, and say what it is.

    Args:
        folder: Where to.
        videos: In order.
        faults: In order.
        shards: The whole ones by number; videos of others are left out.
        parts: For each shard {split: part}.
        options: How the shards were indexed.
        started: `time.monotonic()` of when.

    Raises:
        ConfigError: There would be no video, or a label has no class.
    """
    videos = [(task, probed) for task, probed in videos if task.shard in shards]
    if any(task.label for task, _ in videos):
        faults = [*faults, *(_no_label(task) for task, _ in videos if not task.label)]
        videos = [(task, probed) for task, probed in videos if task.label]
    if not videos:
        raise nothing_readable(folder.path, faults)
    classes = _classes([task.label for task, _ in videos], options)
    numbers = _numbers(classes)
    rows = [_row(task, probed, numbers, parts[task.shard]) for task, probed in videos]
    counts = Counter(row.shard for row in rows)
    shards = {number: replace(facts, num_videos=counts[number]) for number, facts in shards.items()}
    folder.path.mkdir(parents=True, exist_ok=True)
    write_set(
        folder.path,
        rows,
        faults,
        splits=tuple(sorted({split for row in rows for split in row.splits})),
        classes=classes,
        shards=[{**asdict(facts), "number": number} for number, facts in shards.items()],
        made={"indexed": {"label_key": options.label_key, "key_with_shard": options.key_with_shard}},
    )
    return _summary(folder, rows, videos, faults, tuple(shards.values()), classes, started)


def _no_label(task: TarTask) -> PackFault:
    return PackFault(task.name, SampleCause.NO_LABEL.value, "no label, though other samples have one")


def _classes(labels: Sequence[str], options: IndexOptions) -> tuple[str, ...]:
    """Name the classes; labels that are numbers may have been given names."""
    found = class_names(labels)
    if not options.classes:
        return found
    are_numbers = all(name.isdecimal() for name in found)
    unknown = found[len(options.classes) :] if are_numbers else sorted(set(found) - set(options.classes))
    if unknown:
        raise ConfigError(
            where="--classes",
            came=f"{len(options.classes)} names, none for the label {unknown[-1]}",
            expected="a name for each label that the shards have",
            todo="Complete the list: one name in each line, in the order of the classes.",
        )
    return tuple(options.classes)


def _numbers(classes: tuple[str, ...]) -> dict[str, int]:
    """Give the number of each label: of a class's name, or the number itself; -1 for none."""
    return {"": -1, **{str(number): number for number in range(len(classes))}} | {
        name: number for number, name in enumerate(classes)
    }


def _row(task: TarTask, probed: ProbedVideo, numbers: dict[str, int], splits: dict[str, str]) -> IndexRow:
    return IndexRow(
        key=task.key,
        shard=task.shard,
        offset=task.offset,
        size=task.size,
        extension=task.extension,
        label=numbers[task.label],
        num_frames=probed.facts.num_frames,
        fps=probed.facts.fps,
        height=probed.facts.height,
        width=probed.facts.width,
        checksum=probed.checksum,
        splits=splits,
    )


def _summary(
    folder: Location,
    rows: list[IndexRow],
    videos: Found,
    faults: Sequence[PackFault],
    shards: tuple[ShardFacts, ...],
    classes: tuple[str, ...],
    started: float,
) -> PackSummary:
    counts = Counter(f"{split}/{part}" for row in rows for split, part in row.splits.items())
    return PackSummary(
        destination=folder.path,
        part=None,
        num_videos=len(rows),
        num_bytes=sum(row.size for row in rows),
        num_frames=sum(row.num_frames for row in rows),
        duration_sec=sum(probed.facts.duration_sec for _, probed in videos),
        classes=classes,
        splits=dict(sorted(counts.items())),
        shards=shards,
        fingerprint=fingerprint_rows(rows),
        faults=tuple(faults),
        notes=(),
        elapsed_sec=time.monotonic() - started,
    )
