"""Videos straight from their files, with all test views: for predictions, where no set is packed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from videomae_train.data.counting import average_rate, count_frames
from videomae_train.data.decoding import probe_video
from videomae_train.data.loader import BatchLoader, make_loader
from videomae_train.data.options import LoaderOptions, ViewOptions
from videomae_train.data.source_files import read_source_file
from videomae_train.data.stand_ins import NOTHING, make_fault
from videomae_train.data.video_table import VideoNames
from videomae_train.data.views import Video, evaluation_views
from videomae_train.data.watch import decoding
from videomae_train.errors import DecodeError
from videomae_train.types import Fault, VideoFileBatch


class VideoFileItem(NamedTuple):
    """All test views of one file: clips uint8 (n, R, T, S, S, C), n = 1, or 0 if the file is faulty."""

    clips: Tensor
    num_frames: int
    sample_id: int
    faults: tuple[Fault, ...]


class FileNames(NamedTuple):
    """Files as the loader names videos; a sample id is a place in the list."""

    paths: Sequence[Path]

    def key(self, sample_id: int) -> str:
        """Give the path."""
        return str(self.paths[sample_id])

    def shard(self, sample_id: int) -> str:
        """No shard holds a file."""
        return ""

    def where(self, sample_id: int) -> str:
        """Give the path."""
        return self.key(sample_id)


class VideoFileDataset(Dataset[VideoFileItem]):
    """Files in the order of their list, each with all its views; nothing is ever replaced or left out.

    Args:
        paths: The files.
        options: Which views are taken; with `frame_interval_sec` a file that does not state its rate is faulty.
        known_faults: Files that are taken for unreadable without trying, by their places.
    """

    def __init__(
        self, paths: Sequence[Path], options: ViewOptions, known_faults: Mapping[int, Fault] = NOTHING
    ) -> None:
        self.names: VideoNames = FileNames(paths)
        self.paths = paths
        self.options = options
        self.known_faults = known_faults

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> VideoFileItem:
        """Make the views of one file; a faulty one has none."""
        if place in self.known_faults:
            return self._faulty(place, self.known_faults[place])
        where = self.names.where(place)
        try:
            content = read_source_file(self.paths[place], where)
            with decoding(-1, place):
                clips, num_frames = file_views(content, where, self.options)
        except DecodeError as error:
            return self._faulty(place, make_fault(self.names, place, -1, error))
        return VideoFileItem(clips[None], num_frames, place, ())

    def _faulty(self, place: int, fault: Fault) -> VideoFileItem:
        options = self.options
        views = options.num_clips * options.num_crops
        shape = (0, views, options.num_frames, options.size, options.size, 3)
        return VideoFileItem(torch.empty(shape, dtype=torch.uint8), 0, place, (fault,))


def file_views(content: bytes, where: str, options: ViewOptions) -> tuple[Tensor, int]:
    """Take the views of a file, as `views.evaluation_views`, and count its frames.

    Where the packets promised frames that do not come, those are counted that do.

    Raises:
        DecodeError: It is not decodable, or its rate is unknown where the views need it.
    """
    video = file_video(content, count_frames(content, where=where), where, options)
    try:
        return evaluation_views(video, options), video.num_frames
    except DecodeError:
        video = video._replace(num_frames=probe_video(content, where=where).num_frames)
        return evaluation_views(video, options), video.num_frames


def file_video(content: bytes, num_frames: int, where: str, options: ViewOptions) -> Video:
    """Give a file as a packed set gives its videos; its rate is read only where the views are paced in seconds.

    Raises:
        DecodeError: The rate is needed, and the file does not state it.
    """
    fps = 0.0 if options.frame_interval_sec is None else average_rate(content, where=where)
    return Video(content, num_frames, fps, where)


def collate_files(items: Sequence[VideoFileItem]) -> VideoFileBatch:
    """Join the files that could be read; the others appear as faults only."""
    readable = [item for item in items if not item.faults]
    return VideoFileBatch(
        clips=torch.cat([item.clips for item in items]).permute(0, 1, 2, 5, 3, 4),
        num_frames=torch.tensor([item.num_frames for item in readable], dtype=torch.int64),
        sample_ids=torch.tensor([item.sample_id for item in readable], dtype=torch.int64),
        faults=tuple(fault for item in items for fault in item.faults),
    )


def video_file_loader(
    dataset: VideoFileDataset, options: LoaderOptions, *, batch_videos: int, first: int = 0
) -> BatchLoader:
    """Load the files in their order from place `first` on, each once; the last batch may be smaller."""
    places = range(first, len(dataset))
    batches = [list(places[at : at + batch_videos]) for at in range(0, len(places), batch_videos)]
    return make_loader(dataset, collate_files, batches, options, keep_workers=False)
