"""The videos of a training order as they can be read: what stands in for a broken one, and the note of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from videomae_train.data.index import Selection
from videomae_train.data.order import EpochOrder
from videomae_train.data.video_table import VideoNames
from videomae_train.data.views import SampleKey, Video
from videomae_train.data.watch import decoding
from videomae_train.errors import DecodeCause, DecodeError, TrainingError
from videomae_train.types import Fault

MAX_ATTEMPTS = 20
NOTHING: Mapping[int, Fault] = {}

T = TypeVar("T")


class TrainingVideos:
    """The videos in their order, with stand-ins for those that cannot be read.

    Args:
        selection: The videos.
        order: Which of them stands where.
        passed_by: Videos that are taken for unreadable without trying, see `passed_by.PassedBy`.
    """

    def __init__(self, selection: Selection, order: EpochOrder, passed_by: Mapping[int, Fault]) -> None:
        self._selection, self._order, self._passed_by = selection, order, passed_by

    def first_readable(
        self, position: int, make: Callable[[Video, SampleKey], T]
    ) -> tuple[T, SampleKey, tuple[Fault, ...]]:
        """Make what stands at a position; a broken video is replaced by alternates that only the position decides.

        Args:
            position: In the endless order.
            make: From the video and the key of its random choices.

        Returns:
            What was made, the key of the video it was made of, and the faults on the way there.

        Raises:
            ShardError: A shard does not hold what the index says.
            TrainingError: Neither the video nor its alternates can be read.
        """
        order = self._order
        epoch, sample_id = order.sample_at(position)
        # One window ahead, so that remote shards of the next window arrive while this one is consumed.
        ahead = min(order.window_videos, len(order))
        self._selection.dataset.expect(order.sample_at(position + ahead)[1])
        faults: list[Fault] = []
        for attempt in range(MAX_ATTEMPTS):
            key = SampleKey(order.seed, epoch, order.fingerprint, sample_id)
            try:
                video = open_video(self._selection, sample_id, self._passed_by)
                with decoding(position, sample_id):
                    return make(video, key), key, tuple(faults)
            except DecodeError as error:
                faults.append(make_fault(self._selection.dataset, sample_id, position, error))
                sample_id = order.alternate(position, attempt)
        raise TrainingError(
            where=f"position {position} of {self._selection.dataset.title}",
            came=f"{MAX_ATTEMPTS} unreadable videos in a row; the last: {faults[-1].detail}",
            expected="a data set that is mostly readable",
            todo="Pack the videos again; packing leaves out and lists what cannot be read.",
        )


def open_video(selection: Selection, sample_id: int, passed_by: Mapping[int, Fault]) -> Video:
    """Fetch a video's bytes with what the index says of it.

    Raises:
        DecodeError: The video is one of those passed by.
        ShardError: A shard does not hold what the index says.
    """
    dataset = selection.dataset
    if sample_id in passed_by:
        before = passed_by[sample_id]
        place = "in validation" if before.position < 0 else f"at position {before.position}"
        raise DecodeError(
            where=dataset.where(sample_id), cause=DecodeCause(before.cause), came=f"it ended the run {place}"
        )
    return Video(
        content=dataset.read_bytes(sample_id),
        num_frames=int(dataset.num_frames[sample_id]),
        fps=float(dataset.fps[sample_id]),
        where=dataset.where(sample_id),
    )


def make_fault(videos: VideoNames, sample_id: int, position: int, error: DecodeError) -> Fault:
    """Write down an unreadable video; position as in `types.Fault`."""
    return Fault(
        key=videos.key(sample_id),
        shard=videos.shard(sample_id),
        sample_id=sample_id,
        position=position,
        cause=error.cause.value,
        detail=str(error),
    )
