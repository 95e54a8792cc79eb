"""Map-style data sets over positions: what one item of a batch is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from videomae_train.data.index import Selection
from videomae_train.data.options import FinetuneDataOptions, PretrainDataOptions, ViewOptions
from videomae_train.data.order import EpochOrder
from videomae_train.data.stand_ins import NOTHING, TrainingVideos, make_fault, open_video
from videomae_train.data.video_table import VideoNames
from videomae_train.data.views import evaluation_views, finetune_views, pretrain_views
from videomae_train.data.watch import decoding
from videomae_train.errors import ConfigError, DecodeError
from videomae_train.types import Crops, Fault, PatchGrid

MaskSampler = Callable[[PatchGrid, np.random.Generator], np.ndarray]
DecodeSampler = Callable[[np.ndarray, PatchGrid, np.random.Generator], np.ndarray]


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
        self.videos = TrainingVideos(selection, order, passed_by)
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
        self.videos = TrainingVideos(selection, order, passed_by)
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
        passed_by: Videos that are taken for unreadable without trying, see `passed_by.PassedBy`.

    Raises:
        ConfigError: A video has no label, or no frame rate where the options count in seconds.
    """

    def __init__(
        self,
        selection: Selection,
        options: ViewOptions,
        *,
        rank: int = 0,
        world: int = 1,
        passed_by: Mapping[int, Fault] = NOTHING,
    ) -> None:
        selection.check_labelled()
        check_pace(selection, options)
        self.selection = selection
        self.passed_by = passed_by
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
            video = open_video(self.selection, sample_id, self.passed_by)
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
