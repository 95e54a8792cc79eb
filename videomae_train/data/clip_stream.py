"""All clips of many videos, in pieces of bounded size: for features, where a video may have any number of clips."""

from __future__ import annotations

import multiprocessing
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from videomae_train.data.counting import frame_times
from videomae_train.data.frame_stream import stream_frames
from videomae_train.data.index import Selection
from videomae_train.data.options import ViewOptions
from videomae_train.data.sliding import SlidingWindows, Window, sliding_windows
from videomae_train.data.source_files import open_source_file, read_source_file
from videomae_train.data.stand_ins import make_fault
from videomae_train.data.video_files import file_video, file_views
from videomae_train.data.video_table import VideoNames
from videomae_train.data.views import evaluation_windows
from videomae_train.data.watch import decoding
from videomae_train.errors import DecodeError, VideoMAETrainError
from videomae_train.types import Fault

ClipOptions = ViewOptions | SlidingWindows


class ClipSource(VideoNames, Protocol):
    """Videos in an order, by their places in it: files, or a selection of a packed set."""

    @property
    def num_videos(self) -> int:
        """Videos, numbered from 0."""
        ...

    def content(self, sample_id: int) -> Path | bytes:
        """Give a video's file, or its bytes."""
        ...


@dataclass(frozen=True)
class PackedVideos:
    """The videos of a selection of a packed set, as a `ClipSource`; keys are those of the index."""

    selection: Selection

    @property
    def num_videos(self) -> int:
        """Videos of the selection."""
        return len(self.selection)

    def key(self, sample_id: int) -> str:
        """Give the key in the index."""
        return self.selection.dataset.key(self._row(sample_id))

    def shard(self, sample_id: int) -> str:
        """Name the shard."""
        return self.selection.dataset.shard(self._row(sample_id))

    def where(self, sample_id: int) -> str:
        """Name shard and key."""
        return self.selection.dataset.where(self._row(sample_id))

    def content(self, sample_id: int) -> bytes:
        """Read the video.

        Raises:
            ShardError: The shard does not hold what the index says.
        """
        return self.selection.dataset.read_bytes(self._row(sample_id))

    def _row(self, place: int) -> int:
        return int(self.selection.sample_ids[place])


class ClipPiece(NamedTuple):
    """Some of a video's clips, or its fault.

    Attributes:
        place: The video.
        clips: uint8 (n, T, C, S, S), RGB 0..255, in the order of time, all crops of a clip next to each other; a view
            of (n, T, S, S, C) memory. n may be 0 in the last piece.
        start_frames: int64 (n,), each clip's first frame.
        start_sec: float64 (n,), when that is shown, in seconds since the video's first frame; NaN if the file does not
            say.
        num_frames: Frames of the video, told by its last piece; -1 before.
        faults: Why the video cannot be read; nothing of it counts then, and nothing follows.
    """

    place: int
    clips: Tensor
    start_frames: Tensor
    start_sec: Tensor
    num_frames: int
    faults: tuple[Fault, ...]

    @property
    def is_last(self) -> bool:
        """Nothing of this video follows."""
        return self.num_frames >= 0 or bool(self.faults)


class ClipStream(IterableDataset[ClipPiece | VideoMAETrainError]):
    """The clips of videos, piece by piece; workers take videos in turn, so that their pieces come mixed.

    Args:
        source: The videos.
        places: Those that are wanted, in this order.
        options: Which clips. Views come in one piece.
        clips_a_piece: At most so many clips of sliding windows in a piece, crops counted, but all crops of a clip.
        begun: Clips of a video (place) that are not wanted because they are there already; whole pieces of them.
    """

    def __init__(
        self,
        source: ClipSource,
        places: Sequence[int],
        options: ClipOptions,
        *,
        clips_a_piece: int,
        begun: Mapping[int, int],
    ) -> None:
        self._source, self._places, self._options = source, places, options
        self._clips_a_piece, self._begun = clips_a_piece, begun
        self._taken = multiprocessing.Value("q", 0)  # of the places, by all workers together

    def __iter__(self) -> Iterator[ClipPiece | VideoMAETrainError]:
        """Make the pieces of one video after the other; an error is the last thing that comes."""
        while (place := self._take()) is not None:
            try:
                yield from self._pieces(place)
            except DecodeError as error:
                yield self._faulty(place, error)
            except VideoMAETrainError as error:
                yield error
                return

    def _take(self) -> int | None:
        with self._taken.get_lock():
            number = self._taken.value
            self._taken.value += 1
        return self._places[number] if number < len(self._places) else None

    def _pieces(self, place: int) -> Generator[ClipPiece]:
        with ExitStack() as files:
            pieces = self._decoded(place, files)
            while True:
                # Announced piece by piece: between them the worker may wait for as long as the model takes.
                with decoding(-1, place):
                    piece = next(pieces, None)
                if piece is None:
                    return
                yield piece

    def _decoded(self, place: int, files: ExitStack) -> Generator[ClipPiece]:
        content, where = self._source.content(place), self._source.where(place)
        if isinstance(self._options, ViewOptions):
            whole = content if isinstance(content, bytes) else read_source_file(content, where)
            yield _views(place, whole, where, self._options)
            return
        video = (
            content if isinstance(content, bytes) else files.enter_context(open_source_file(content, where))
        )
        yield from self._windows(place, video, where, self._options)

    def _windows(
        self, place: int, video: bytes | BinaryIO, where: str, options: SlidingWindows
    ) -> Generator[ClipPiece]:
        at_once = max(1, self._clips_a_piece // options.num_crops)
        first = self._begun.get(place, 0) // options.num_crops
        windows = sliding_windows(stream_frames(video, where=where), options, first=first)
        while True:
            some: list[Window] = []
            while len(some) < at_once:
                try:
                    some.append(next(windows))
                except StopIteration as end:
                    yield _joined(place, some, end.value, options)
                    return
            yield _joined(place, some, -1, options)

    def _faulty(self, place: int, error: DecodeError) -> ClipPiece:
        empty = _joined(place, [], -1, self._options)
        return empty._replace(faults=(make_fault(self._source, place, -1, error),))


def _joined(place: int, windows: Sequence[Window], num_frames: int, options: ClipOptions) -> ClipPiece:
    clips = torch.cat(
        [
            torch.empty(0, options.num_frames, options.size, options.size, 3, dtype=torch.uint8),
            *(w.clips for w in windows),
        ]
    )
    crops = torch.tensor(options.num_crops)
    return ClipPiece(
        place=place,
        clips=clips.permute(0, 1, 4, 2, 3),
        start_frames=torch.tensor([w.start_frame for w in windows], dtype=torch.int64).repeat_interleave(
            crops
        ),
        start_sec=torch.tensor([w.start_sec for w in windows], dtype=torch.float64).repeat_interleave(crops),
        num_frames=num_frames,
        faults=(),
    )


def _views(place: int, content: bytes, where: str, options: ViewOptions) -> ClipPiece:
    clips, num_frames = file_views(content, where, options)
    starts = evaluation_windows(file_video(content, num_frames, where, options), options)[:, 0]
    starts = np.repeat(starts, options.num_crops)
    times = frame_times(content, num_frames, where=where)
    return ClipPiece(
        place=place,
        clips=clips.permute(0, 1, 4, 2, 3),
        start_frames=torch.from_numpy(starts),
        start_sec=torch.from_numpy(times[starts]),
        num_frames=num_frames,
        faults=(),
    )
