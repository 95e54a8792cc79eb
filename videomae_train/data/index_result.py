"""What indexing makes of the shards that it has read: labels, rows, and the files of the set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from videomae_train.data.class_labels import are_numbers, class_names, class_numbers, distinct_labels
from videomae_train.data.index_plan import IndexPlan
from videomae_train.data.indexed_shard import IndexedShard, IndexedVideo
from videomae_train.data.layout import IndexRow, fingerprint_videos
from videomae_train.data.pack_summary import PackFault, PackSummary
from videomae_train.data.set_files import nothing_readable, write_set
from videomae_train.data.shard_reading import member_name
from videomae_train.data.shards import ShardFacts
from videomae_train.data.tar_samples import SampleCause
from videomae_train.errors import ConfigError

Shards = Mapping[int, IndexedShard]


def complete_index(plan: IndexPlan, shards: Shards) -> None:
    """Write the files of the set.

    Args:
        plan: How the shards were indexed; its folder exists.
        shards: All of them, in order.

    Raises:
        ConfigError: There would be no video, or a label has no class.
    """
    found = _select(plan, shards, is_all=True)
    if not found.videos:
        raise nothing_readable(plan.folder.path, found.faults)
    classes = _classes([video.label for _, video in found.videos], plan)
    numbers = _numbers(classes)
    rows = [_row(plan, number, video, numbers[video.label]) for number, video in found.videos]
    write_set(
        plan.folder.path,
        rows,
        found.faults,
        splits=tuple(sorted({split for row in rows for split in row.splits})),
        classes=classes,
        shards=[{**asdict(facts), "number": number} for number, facts in _facts(plan, shards, found).items()],
        made={
            "indexed": {"label_key": plan.options.label_key, "key_with_shard": plan.options.key_with_shard}
        },
    )


def summarise_index(plan: IndexPlan, shards: Shards, notes: Sequence[str], elapsed_sec: float) -> PackSummary:
    """Say what was found in all shards, or in those of a part."""
    part = plan.options.part
    found = _select(plan, shards, is_all=part is None)
    videos = [video for _, video in found.videos]
    labels = [video.label for video in videos]
    counts = Counter(
        f"{split}/{name}" for number, _ in found.videos for split, name in plan.splits[number].items()
    )
    return PackSummary(
        destination=plan.folder.path,
        part=None if part is None else str(part),
        num_videos=len(videos),
        num_bytes=sum(video.size for video in videos),
        num_frames=sum(video.num_frames for video in videos),
        duration_sec=sum(video.duration_sec for video in videos),
        classes=_classes(labels, plan) if part is None else tuple(distinct_labels(labels)),
        splits=dict(sorted(counts.items())),
        shards=tuple(_facts(plan, shards, found).values()),
        fingerprint=fingerprint_videos(
            (plan.key_in_set(number, video.key), bytes.fromhex(video.checksum))
            for number, video in found.videos
        ),
        faults=found.faults,
        notes=tuple(notes),
        elapsed_sec=elapsed_sec,
    )


@dataclass(frozen=True)
class _Found:
    """What of the shards is in the set, and what is not.

    Attributes:
        videos: In order, each with the number of its shard.
        faults: In order of the shards; last the videos that have no label although others have one.
    """

    videos: tuple[tuple[int, IndexedVideo], ...]
    faults: tuple[PackFault, ...]


def _select(plan: IndexPlan, shards: Shards, *, is_all: bool) -> _Found:
    """Bring shards together; whether a video needs a label is known only when these are all."""
    faults = [fault for shard in shards.values() for fault in shard.faults]
    videos = [(number, video) for number, shard in shards.items() for video in shard.videos]
    if plan.options.unlabelled:
        videos = [(number, replace(video, label="")) for number, video in videos]
    elif is_all and any(video.label for _, video in videos):
        faults += [_no_label(plan, number, video) for number, video in videos if not video.label]
        videos = [(number, video) for number, video in videos if video.label]
    return _Found(tuple(videos), tuple(faults))


def _no_label(plan: IndexPlan, number: int, video: IndexedVideo) -> PackFault:
    name = member_name(plan.shards.names[number], video.key, video.extension)
    return PackFault(name, SampleCause.NO_LABEL.value, "no label, though other samples have one")


def _facts(plan: IndexPlan, shards: Shards, found: _Found) -> dict[int, ShardFacts]:
    """Describe the whole shards by their numbers."""
    counts = Counter(number for number, _ in found.videos)
    return {
        number: ShardFacts(
            plan.name_in_set(number), counts[number], shard.facts.num_bytes, str(shard.facts.sha256)
        )
        for number, shard in shards.items()
        if shard.facts is not None
    }


def _classes(labels: Sequence[str], plan: IndexPlan) -> tuple[str, ...]:
    """Name the classes; labels that are numbers may have been given names."""
    options = plan.options
    if not options.classes:
        return class_names(labels, str(plan.shards.base))
    found = distinct_labels(labels)
    if are_numbers(found):
        unknown = [label for label in found if int(label) >= len(options.classes)]
    else:
        unknown = sorted(set(found) - set(options.classes))
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
    return {**{str(number): number for number in range(len(classes))}, **class_numbers(classes)}


def _row(plan: IndexPlan, number: int, video: IndexedVideo, label: int) -> IndexRow:
    return IndexRow(
        key=plan.key_in_set(number, video.key),
        shard=number,
        offset=video.offset,
        size=video.size,
        extension=video.extension,
        label=label,
        num_frames=video.num_frames,
        fps=video.fps,
        height=video.height,
        width=video.width,
        checksum=bytes.fromhex(video.checksum),
        splits=plan.splits[number],
    )
