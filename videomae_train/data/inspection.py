"""Looking into every video of a set, packed or not: what `check` knows before it judges.

Videos are read and decoded in children that can be ended (see `children`); each of them sends back a small
record, never the video, so that sets of any size fit. Imports nothing heavy, as `probing`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from videomae_train.data.children import Ended, children_at_work
from videomae_train.data.decoding import VideoFacts, probe_video
from videomae_train.data.encoding import Reencoding
from videomae_train.data.frame_folders import encode_frame_folder
from videomae_train.data.index import PackedDataset
from videomae_train.data.layout import SPLIT_PREFIX, content_checksum
from videomae_train.data.probing import ended_error
from videomae_train.data.source_files import read_source_file
from videomae_train.data.sources import SourceSet, SourceVideo
from videomae_train.data.thumbnails import ThumbnailStack
from videomae_train.errors import DecodeError, ShardError

Item = TypeVar("Item")

# Causes of faults that only a packed set has, beside the values of `DecodeCause`.
NOT_AS_PACKED = "not as packed"
NOT_AS_INDEXED = "not as indexed"


@dataclass(frozen=True)
class InspectedVideo:
    """What is known of one video.

    Attributes:
        name: Its key in a packed set, else its path inside the source.
        label: Class number, -1 if it has none.
        splits: Split -> part.
        num_bytes: Size of the file, 0 if it could not be read.
        checksum: `content_checksum` of the file, empty if it could not be read.
        num_frames: From decoding, else from the index, else 0; so for the next three.
        fps: Frames per second that the file states.
        height: Pixels, upright.
        width: Pixels, upright.
        facts: All that decoding showed; None without decoding.
        thumbnails: `ThumbnailStack.picked`; empty without decoding.
        still_ratio: `ThumbnailStack.still_ratio`.
        cause: Why it cannot be used, a `DecodeCause` value or one of this module; empty if it can.
        detail: The whole message of the fault.
    """

    name: str
    label: int = -1
    splits: Mapping[str, str] = field(default_factory=dict[str, str])
    num_bytes: int = 0
    checksum: bytes = b""
    num_frames: int = 0
    fps: float = 0.0
    height: int = 0
    width: int = 0
    facts: VideoFacts | None = None
    thumbnails: bytes = b""
    still_ratio: float = 0.0
    cause: str = ""
    detail: str = ""

    def faulty(self, cause: str, error: DecodeError | ShardError) -> InspectedVideo:
        """Say why the video cannot be used."""
        return replace(self, cause=cause, detail=str(error))


@dataclass(frozen=True)
class InspectedSet:
    """All videos of a set and what they are meant for.

    Attributes:
        name: Folder or list that was looked at.
        is_packed: Whether it is a packed set; else the files that `pack` would read.
        is_decoded: Whether the videos were decoded.
        classes: Class names; a label is a number in this list.
        videos: In the order of the set.
        notes: What listing the files showed.
    """

    name: str
    is_packed: bool
    is_decoded: bool
    classes: tuple[str, ...]
    videos: tuple[InspectedVideo, ...]
    notes: tuple[str, ...] = ()

    @property
    def usable(self) -> list[InspectedVideo]:
        """The videos without a fault."""
        return [video for video in self.videos if not video.cause]


@contextmanager
def inspected_source(
    source: SourceSet, *, decode: bool, processes: int, timeout_sec: float
) -> Generator[Iterator[InspectedVideo]]:
    """Look into the files of a source, in its order.

    Args:
        source: The files.
        decode: Decode them to the end; else read them only.
        processes: Children at a time.
        timeout_sec: A video that takes longer has a fault.
    """
    work = partial(inspect_source_video, decode=decode)
    with children_at_work(work, source.videos, processes=processes, timeout_sec=timeout_sec) as results:
        yield _settled(results, _listed_in_source, timeout_sec)


@contextmanager
def inspected_packed(
    dataset: PackedDataset, *, decode: bool, processes: int, timeout_sec: float
) -> Generator[Iterator[InspectedVideo]]:
    """Look into the videos of a packed set, in the order of its index; arguments as for `inspected_source`."""
    work = partial(inspect_packed_video, dataset=dataset, decode=decode)
    rows = range(dataset.num_videos)
    with children_at_work(work, rows, processes=processes, timeout_sec=timeout_sec) as results:
        yield _settled(results, partial(_listed_in_index, dataset), timeout_sec)


def _settled(
    results: Iterator[tuple[Item, InspectedVideo | Ended]],
    listed: Callable[[Item], InspectedVideo],
    timeout_sec: float,
) -> Iterator[InspectedVideo]:
    for item, result in results:
        if isinstance(result, Ended):
            video = listed(item)
            error = ended_error(video.name, result, timeout_sec)
            yield video.faulty(error.cause.value, error)
        else:
            yield result


def inspect_source_video(video: SourceVideo, *, decode: bool) -> InspectedVideo:
    """Read a file and decode it to its end; a fault is a part of the result.

    A folder of frames is encoded, as packing would.
    """
    return _inspect(_listed_in_source(video), partial(_read_source, video), video.name, decode=decode)


def inspect_packed_video(row: int, *, dataset: PackedDataset, decode: bool) -> InspectedVideo:
    """Read a video from its shard, compare its checksum, decode it and compare it with the index."""
    listed, where = _listed_in_index(dataset, row), dataset.where(row)
    video = _inspect(listed, partial(dataset.read_bytes, row), where, decode=decode)
    found, stated = ((one.num_frames, one.height, one.width) for one in (video, listed))
    if video.cause or found == stated:
        return video
    error = ShardError(
        where=where,
        came="{} frames of {}x{}".format(*found),
        expected="{} frames of {}x{}, as the index says".format(*stated),
        todo="Index or pack the set again.",
    )
    return video.faulty(NOT_AS_INDEXED, error)


def _inspect(video: InspectedVideo, read: Callable[[], bytes], where: str, *, decode: bool) -> InspectedVideo:
    try:
        content = read()
        video = replace(video, num_bytes=len(content), checksum=content_checksum(content))
        return _decoded(video, content, where) if decode else video
    except DecodeError as error:
        return video.faulty(error.cause.value, error)
    except ShardError as error:
        return video.faulty(NOT_AS_PACKED, error)


def _decoded(video: InspectedVideo, content: bytes, where: str) -> InspectedVideo:
    stack = ThumbnailStack()
    facts = probe_video(content, where=where, on_frame=stack.add)
    return replace(
        video,
        num_frames=facts.num_frames,
        fps=facts.fps,
        height=facts.height,
        width=facts.width,
        facts=facts,
        thumbnails=stack.picked(),
        still_ratio=stack.still_ratio(),
    )


def _read_source(video: SourceVideo) -> bytes:
    if video.frames_fps is None:
        return read_source_file(video.path, video.name)
    return encode_frame_folder(video.path, video.frames_fps, Reencoding(), where=video.name)


def _listed_in_source(video: SourceVideo) -> InspectedVideo:
    return InspectedVideo(video.name, video.label, dict(video.splits))


def _listed_in_index(dataset: PackedDataset, row: int) -> InspectedVideo:
    (cells,) = dataset.table.slice(row, 1).to_pylist()
    splits = {split: cells[SPLIT_PREFIX + split] for split in dataset.splits if cells[SPLIT_PREFIX + split]}
    return InspectedVideo(
        name=cells["key"],
        label=cells["label"],
        splits=splits,
        num_bytes=cells["size"],
        num_frames=cells["num_frames"],
        fps=cells["fps"],
        height=cells["height"],
        width=cells["width"],
    )
