"""What packing reports: its progress, its faults, its result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from videomae_train.data.shards import ShardFacts


@dataclass(frozen=True)
class PackProgress:
    """How far packing has come; given after each video.

    Attributes:
        num_done: Videos looked at.
        num_total: Videos of the source, or of the part.
        num_bytes: Bytes of the good ones among them.
        num_faults: Faulty ones among them.
        num_kept: Videos of shards that were finished before.
        num_kept_bytes: Bytes of the good ones among those.
    """

    num_done: int
    num_total: int
    num_bytes: int
    num_faults: int
    num_kept: int = 0
    num_kept_bytes: int = 0


@dataclass(frozen=True)
class PackFault:
    """A video of the source that is not in the set.

    Attributes:
        name: Its path inside the source.
        cause: A `DecodeCause` value; of shards that are indexed also a `tar_samples.SampleCause`.
        detail: The whole message.
    """

    name: str
    cause: str
    detail: str


@dataclass(frozen=True)
class PackSummary:
    """What packing made.

    Attributes:
        destination: Folder of the data set.
        part: The part that was packed, such as "2/8"; the figures are its own. None if the set is complete.
        num_videos: Videos packed.
        num_bytes: Bytes of these videos.
        num_frames: Frames of these videos.
        duration_sec: Their playing time.
        classes: Class names.
        splits: Videos in each part: {"split1/train": 290}.
        shards: The shard files.
        fingerprint: Of these videos.
        faults: Videos left out.
        notes: What the reader should know about the source.
        elapsed_sec: How long it took.
    """

    destination: Path
    part: str | None
    num_videos: int
    num_bytes: int
    num_frames: int
    duration_sec: float
    classes: tuple[str, ...]
    splits: dict[str, int]
    shards: tuple[ShardFacts, ...]
    fingerprint: str
    faults: tuple[PackFault, ...]
    notes: tuple[str, ...]
    elapsed_sec: float
