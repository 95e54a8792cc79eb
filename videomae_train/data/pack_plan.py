"""What packing will do, decided before any video is opened: which video goes to which shard.

The plan depends on the names, labels and sizes of the source files and on the options, never on the number of
processes or parts; therefore the same source gives the same bytes.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path

import av

from videomae_train.data.encoding import Reencoding
from videomae_train.data.layout import FORMAT_VERSION
from videomae_train.data.parts import Part, shards_of_part
from videomae_train.data.source_files import list_source_folder, source_status
from videomae_train.data.sources import SourceSet, SourceVideo
from videomae_train.errors import DecodeError
from videomae_train.randomness import keyed_permutation


@dataclass(frozen=True, kw_only=True)
class PackOptions:
    """How a source is packed.

    Attributes:
        seed: Decides the order of the videos.
        shard_max_videos: A shard is closed when it has so many.
        shard_max_bytes: A shard is closed before it grows beyond this, counted in source files.
        reencoding: Encode the videos for training; None keeps their bytes as they are.
        processes: Videos are probed and encoded in so many child processes.
        timeout_sec: A video that takes a child longer than this is a fault.
        part: Pack only these shards; the set is whole when `pack` ran without one. None packs all that is missing.
        overwrite: Replace another data set that is there already.
    """

    seed: int = 0
    shard_max_videos: int = 1000
    shard_max_bytes: int = 512 * 2**20
    reencoding: Reencoding | None = None
    processes: int = 1
    timeout_sec: float = 300.0
    part: Part | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class PackPlan:
    """Which videos go where.

    Attributes:
        shards: The videos of each shard, in their order.
        shard_bytes: Size of each shard's source files.
        identity: All that decides the bytes of the set, JSON; two packings with equal ones can be mixed.
    """

    shards: tuple[tuple[SourceVideo, ...], ...]
    shard_bytes: tuple[int, ...]
    identity: dict[str, object]

    def shard_numbers(self, part: Part | None) -> list[int]:
        """List the shards of a part, or all of them."""
        return shards_of_part(part, len(self.shards))


def options_for(source: SourceSet, options: PackOptions) -> PackOptions:
    """Complete the options where the source leaves no choice: folders of frames have to be encoded."""
    has_frames = any(video.frames_fps is not None for video in source.videos)
    return replace(options, reencoding=Reencoding()) if has_frames and options.reencoding is None else options


def plan_packing(source: SourceSet, options: PackOptions) -> PackPlan:
    """Permute the videos and cut the sequence into shards, by number and by size of the source files.

    Raises:
        VideoMAETrainError: The disk is in trouble: a size that is wrong would make another plan.
    """
    sizes = [_source_bytes(video.path) for video in source.videos]
    shards: list[list[SourceVideo]] = []
    shard_bytes: list[int] = []
    for place in keyed_permutation(len(sizes), options.seed, "packing order").tolist():
        is_full = shards and len(shards[-1]) >= options.shard_max_videos
        if not shards or is_full or shard_bytes[-1] + sizes[place] > options.shard_max_bytes:
            shards.append([])
            shard_bytes.append(0)
        shards[-1].append(source.videos[place])
        shard_bytes[-1] += sizes[place]
    return PackPlan(tuple(map(tuple, shards)), tuple(shard_bytes), _identity(source, sizes, options))


def _source_bytes(path: Path) -> int:
    """Measure a file, or a folder of frames; 0 if there is none."""
    status = source_status(path)
    if status is not None and stat.S_ISDIR(status.st_mode):
        return _folder_bytes(path)
    return status.st_size if status is not None and stat.S_ISREG(status.st_mode) else 0


def _folder_bytes(folder: Path) -> int:
    try:
        files = list_source_folder(folder, str(folder))
    except DecodeError:
        return 0  # it may not be listed, and becomes a fault
    return sum(status.st_size for status in map(source_status, files) if status is not None)


def _identity(source: SourceSet, sizes: Sequence[int], options: PackOptions) -> dict[str, object]:
    return {
        "work": "packing",
        "format": FORMAT_VERSION,
        "layout": source.layout,
        "num_videos": len(source.videos),
        "num_source_bytes": sum(sizes),
        "source": _source_digest(source, sizes),
        "seed": options.seed,
        "shard_max_videos": options.shard_max_videos,
        "shard_max_bytes": options.shard_max_bytes,
        "reencoding": describe_reencoding(options.reencoding),
    }


def _source_digest(source: SourceSet, sizes: Sequence[int]) -> str:
    """Condense names, labels, splits and sizes of a source; its files are not read."""
    digest = blake2b(repr(source.classes).encode(), digest_size=16)
    for video, size in zip(source.videos, sizes, strict=True):
        row = (video.name, video.label, sorted(video.splits.items()), video.frames_fps, size)
        digest.update(repr(row).encode())
    return digest.hexdigest()


def describe_reencoding(reencoding: Reencoding | None) -> dict[str, object] | None:
    """Say how videos are encoded and by which version of FFmpeg, on which the bytes depend."""
    if reencoding is None:
        return None
    version = ".".join(map(str, av.library_versions["libavcodec"]))
    return {**asdict(reencoding), "codec": "libx264", "libavcodec": version}
