"""Map-style data sets over positions: what one item of a batch is, and what stands in for a broken one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from videomae_train.data.index import Selection
from videomae_train.data.options import FinetuneDataOptions, PretrainDataOptions, ViewOptions
from videomae_train.data.order import EpochOrder
from videomae_train.data.video_table import VideoNames
from videomae_train.data.views import SampleKey, Video, evaluation_views, finetune_views, pretrain_views
from videomae_train.data.watch import decoding
from videomae_train.errors import ConfigError, DecodeCause, DecodeError, TrainingError
from videomae_train.types import Crops, Fault, PatchGrid

MaskSampler = Callable[[PatchGrid, np.random.Generator], np.ndarray]
DecodeSampler = Callable[[np.ndarray, PatchGrid, np.random.Generator], np.ndarray]

MAX_ATTEMPTS = 20
NOTHING: Mapping[int, Fault] = {}

T = TypeVar("T")


class PretrainItem(NamedTuple):
    """All views of one video: clips uint8 (R, T, S, S, C) and tokens as in `types.PretrainBatch`.

    visible int64 (R, V), hidden int64 (R, M), unscored int64 (R, U); as many in each view. With crops, clips are whole
    frames, see `views.Views`.
    """

    clips: Tensor
    visible: Tensor
    hidden: Tensor
    unscored: Tensor
    sample_id: int
    faults: tuple[Fault, ...]
    crops: Crops | None


class LabeledItem(NamedTuple):
    """All views of one video and its class; clips, crops and boxes as in `views.Views`."""

    clips: Tensor
    label: int
    sample_id: int
    faults: tuple[Fault, ...]
    crops: Crops | None
    erase_boxes: Tensor | None


class EvaluationItem(NamedTuple):
    """All test views of one video: clips uint8 (n, R, T, S, S, C), n = 1, or 0 if the video is faulty."""

    clips: Tensor
    label: int
    sample_id: int
    faults: tuple[Fault, ...]


class PretrainDataset(Dataset[PretrainItem]):
    """Clips and masks at the positions of the training order.

    Args:
        selection: The videos.
        order: Which of them stands where.
        options: How clips are made.
        mask_sampler: Draws bool (N,), True = hidden, always hiding the same number.
        decode_sampler: Chooses int64 (M + U,), the tokens to predict, M hidden ones and U visible ones each time.
        grid: Patch grid of a clip.
        passed_by: Videos that are taken for unreadable without trying, see `passed_by.PassedBy`.

    Raises:
        ConfigError: A video has no frame rate and the options count in seconds.
    """

    def __init__(
        self,
        selection: Selection,
        order: EpochOrder,
        options: PretrainDataOptions,
        *,
        mask_sampler: MaskSampler,
        decode_sampler: DecodeSampler,
        grid: PatchGrid,
        passed_by: Mapping[int, Fault] = NOTHING,
    ) -> None:
        check_pace(selection, options)
        self.selection = selection
        self.names: VideoNames = selection.dataset
        self.videos = _TrainingVideos(selection, order, passed_by)
        self.order = order
        self.options = options
        self.strides = {name: member.stride for name, member in options.members.items()}
        self.mask_sampler = mask_sampler
        self.decode_sampler = decode_sampler
        self.grid = grid

    def __getitem__(self, position: int) -> PretrainItem:
        """Make the clips and masks of one position.

        Raises:
            ShardError: A shard does not hold what the index says.
            TrainingError: Neither the video nor its alternates can be read.
        """
        views, key, faults = self.videos.first_readable(
            position, lambda video, key: pretrain_views(video, self.options, key, self._stride(key.sample_id))
        )
        masks = [self.mask_sampler(self.grid, key.rng(view, "mask")) for view in range(self.options.views)]
        decoded = [
            self.decode_sampler(mask, self.grid, key.rng(view, "decode")) for view, mask in enumerate(masks)
        ]
        return PretrainItem(
            clips=views.clips,
            visible=torch.from_numpy(np.stack([np.flatnonzero(~mask) for mask in masks])),
            hidden=torch.from_numpy(np.stack([d[mask[d]] for d, mask in zip(decoded, masks, strict=True)])),
            unscored=torch.from_numpy(
                np.stack([d[~mask[d]] for d, mask in zip(decoded, masks, strict=True)])
            ),
            sample_id=key.sample_id,
            faults=faults,
            crops=views.crops,
        )

    def _stride(self, sample_id: int) -> int | None:
        return self.strides[self.selection.dataset.set_name(sample_id)]


class FinetuneDataset(Dataset[LabeledItem]):
    """Augmented clips and labels at the positions of the training order.

    Args:
        selection: The videos, all labelled.
        order: Which of them stands where.
        options: How clips are made.
        passed_by: Videos that are taken for unreadable without trying, see `passed_by.PassedBy`.

    Raises:
        ConfigError: A video has no label, or no frame rate where the options count in seconds.
    """

    def __init__(
        self,
        selection: Selection,
        order: EpochOrder,
        options: FinetuneDataOptions,
        *,
        passed_by: Mapping[int, Fault] = NOTHING,
    ) -> None:
        selection.check_labelled()
        check_pace(selection, options)
        self.selection = selection
        self.names: VideoNames = selection.dataset
        self.videos = _TrainingVideos(selection, order, passed_by)
        self.order = order
        self.options = options

    def __getitem__(self, position: int) -> LabeledItem:
        """Make the clips of one position.

        Raises:
            ShardError: A shard does not hold what the index says.
            TrainingError: Neither the video nor its alternates can be read.
        """
        views, key, faults = self.videos.first_readable(
            position, lambda video, key: finetune_views(video, self.options, key)
        )
        return LabeledItem(
            clips=views.clips,
            label=int(self.selection.dataset.labels[key.sample_id]),
            sample_id=key.sample_id,
            faults=faults,
            crops=views.crops,
            erase_boxes=views.erase_boxes,
        )


class EvaluationDataset(Dataset[EvaluationItem]):
    """This rank's share of the videos to score, each with all its views; nothing is ever replaced.

    Args:
        selection: The videos, all labelled.
        options: Which views are taken.
        rank: This rank.
        world: Number of ranks; together they hold each video once, without padding, so that one may be empty.

    Raises:
        ConfigError: A video has no label, or no frame rate where the options count in seconds.
    """

    def __init__(self, selection: Selection, options: ViewOptions, *, rank: int = 0, world: int = 1) -> None:
        selection.check_labelled()
        check_pace(selection, options)
        self.selection = selection
        self.names: VideoNames = selection.dataset
        self.options = options
        self.sample_ids = selection.sample_ids[rank::world]

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __getitem__(self, place: int) -> EvaluationItem:
        """Make the views of one video; a faulty one has none.

        Raises:
            ShardError: A shard does not hold what the index says.
        """
        sample_id = int(self.sample_ids[place])
        label = int(self.selection.dataset.labels[sample_id])
        try:
            video = _read_video(self.selection, sample_id)
            with decoding(-1, sample_id):
                clips = evaluation_views(video, self.options)
        except DecodeError as error:
            fault = make_fault(self.selection.dataset, sample_id, -1, error)
            return EvaluationItem(self._no_clips(), label, sample_id, (fault,))
        return EvaluationItem(clips[None], label, sample_id, ())

    def _no_clips(self) -> Tensor:
        views, size = self.options.num_clips * self.options.num_crops, self.options.size
        return torch.empty((0, views, self.options.num_frames, size, size, 3), dtype=torch.uint8)


def check_pace(
    selection: Selection, options: PretrainDataOptions | FinetuneDataOptions | ViewOptions
) -> None:
    """Refuse videos without a frame rate where a clip's frames are so many seconds apart.

    Raises:
        ConfigError: There are such videos.
    """
    unknown = selection.sample_ids[selection.dataset.fps[selection.sample_ids] <= 0]
    if options.frame_interval_sec is not None and len(unknown):
        raise ConfigError(
            where=f"data.frame_interval_sec={options.frame_interval_sec}",
            came=f"{len(unknown)} videos of unknown rate, such as {selection.dataset.where(int(unknown[0]))}",
            expected="frames per second of each video in the index",
            todo="Give data.stride in frames instead, or pack files that state their rate.",
        )


class _TrainingVideos:
    """The videos in their order, with stand-ins for those that cannot be read."""

    def __init__(self, selection: Selection, order: EpochOrder, passed_by: Mapping[int, Fault]) -> None:
        self._selection, self._order, self._passed_by = selection, order, passed_by

    def first_readable(
        self, position: int, make: Callable[[Video, SampleKey], T]
    ) -> tuple[T, SampleKey, tuple[Fault, ...]]:
        """Make what stands at a position; a broken video is replaced by alternates that only the position decides."""
        order = self._order
        epoch, sample_id = order.sample_at(position)
        # One window ahead, so that remote shards of the next window arrive while this one is consumed.
        ahead = min(order.window_videos, len(order))
        self._selection.dataset.expect(order.sample_at(position + ahead)[1])
        faults: list[Fault] = []
        for attempt in range(MAX_ATTEMPTS):
            key = SampleKey(order.seed, epoch, order.fingerprint, sample_id)
            try:
                video = self._open(sample_id)
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

    def _open(self, sample_id: int) -> Video:
        if sample_id in self._passed_by:
            before = self._passed_by[sample_id]
            raise DecodeError(
                where=self._selection.dataset.where(sample_id),
                cause=DecodeCause(before.cause),
                came=f"it ended the run at position {before.position}",
            )
        return _read_video(self._selection, sample_id)


def _read_video(selection: Selection, sample_id: int) -> Video:
    dataset = selection.dataset
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
