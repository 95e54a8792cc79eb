"""Lightning data modules: one endless training loader whose whole state is the next position."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytorch_lightning as pl

from videomae_train.data.datasets import (
    DecodeSampler,
    EvaluationDataset,
    FinetuneDataset,
    MaskSampler,
    PretrainDataset,
)
from videomae_train.data.device_crops import finish_crops
from videomae_train.data.loader import (
    BatchLoader,
    collate_labeled,
    collate_pretrain,
    evaluation_loader,
    make_loader,
)
from videomae_train.data.options import (
    EvaluationDataOptions,
    FinetuneDataOptions,
    LoaderOptions,
    PretrainDataOptions,
    TestWindows,
    TrainingWindows,
)
from videomae_train.data.passed_by import PassedBy
from videomae_train.data.stand_ins import NOTHING
from videomae_train.data.training_videos import open_finetune_videos, open_pretrain_videos
from videomae_train.types import LabeledBatch, PatchGrid, PretrainBatch


class PretrainDataModule(pl.LightningDataModule):
    """Masked clips for pretraining.

    Args:
        options: Videos and clips.
        loader: Workers and memory.
        mask_sampler: Draws bool (N,), True = hidden, always hiding the same number.
        decode_sampler: Chooses int64 (M + U,), the tokens to predict, M hidden ones and U visible ones each time.
        grid: Patch grid of a clip.
        seed: The run's seed.
        global_batch: Videos per step on all ranks.
        micro_batch: Videos per micro-batch on one rank; each gives `options.views` clips.
        passed_by: The run's list of videos that ended it; None keeps no list.

    Raises:
        ConfigError: The data set is not there, or options contradict each other.
        ShardError: The data set is not whole.
    """

    def __init__(
        self,
        options: PretrainDataOptions,
        loader: LoaderOptions,
        *,
        mask_sampler: MaskSampler,
        decode_sampler: DecodeSampler,
        grid: PatchGrid,
        seed: int,
        global_batch: int,
        micro_batch: int,
        passed_by: PassedBy | None = None,
    ) -> None:
        super().__init__()
        self.selection, self.stream = open_pretrain_videos(
            options, loader, seed=seed, global_batch=global_batch, micro_batch=micro_batch
        )
        self.dataset = PretrainDataset(
            self.selection,
            self.stream.order,
            options,
            mask_sampler=mask_sampler,
            decode_sampler=decode_sampler,
            grid=grid,
            passed_by=passed_by.read(self.selection) if passed_by else NOTHING,
        )
        self.options = options
        self.loader, self._passed_by = loader, passed_by

    def train_dataloader(self) -> BatchLoader:
        """Load this rank's micro-batches from the next position on, without end."""
        return make_loader(
            self.dataset,
            collate_pretrain,
            self.stream.sampler(*_rank_and_world(self)),
            self.loader,
            self._passed_by,
        )

    def on_after_batch_transfer(self, batch: PretrainBatch, dataloader_idx: int) -> PretrainBatch:
        """Crop on the device what was not cropped before."""
        return finish_crops(batch, self.options.size, "uint8_antialias")

    def first_videos(self, num_videos: int) -> PretrainBatch:
        """Make one batch of the videos at the first positions, as safely as in training."""
        # Not into page-locked memory: before a rank has taken its GPU, that would be the first one's business.
        options = replace(
            self.loader, num_workers=min(1, self.loader.workers), prefetch_batches=1, pin_memory=False
        )
        batches = make_loader(
            self.dataset, collate_pretrain, [list(range(num_videos))], options, self._passed_by
        )
        return self.on_after_batch_transfer(next(iter(batches)), 0)

    def advance(self, num_videos: int) -> None:
        """Count the videos of a finished optimizer step, on all ranks together."""
        self.stream.advance(num_videos)

    def state_dict(self) -> dict[str, Any]:
        """Give the next position and what it depends on."""
        return self.stream.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at a checkpoint's position.

        Raises:
            CheckpointError: It belongs to other data or another order.
        """
        self.stream.load_state_dict(state_dict)


class FinetuneDataModule(pl.LightningDataModule):
    """Labelled clips for fine-tuning, and the same views of each video in every validation.

    Args:
        options: Videos and clips.
        loader: Workers and memory.
        seed: The run's seed.
        global_batch: Videos per step on all ranks.
        micro_batch: Videos per micro-batch on one rank; each gives `options.views` clips.
        passed_by: The run's list of videos that ended it; None keeps no list.
        val_clips: Clips of each video in validation; one is from the middle (published), more are as in the test.
        val_crops: Crops of each of them (published: 1).

    Raises:
        ConfigError: The data set is not there, unlabelled, its training videos are of one class, or options
            contradict each other.
        ShardError: The data set is not whole.
    """

    def __init__(
        self,
        options: FinetuneDataOptions,
        loader: LoaderOptions,
        *,
        seed: int,
        global_batch: int,
        micro_batch: int,
        passed_by: PassedBy | None = None,
        val_clips: int = 1,
        val_crops: int = 1,
    ) -> None:
        super().__init__()
        self.selection, self.stream, self.val_selection, self.classes = open_finetune_videos(
            options, loader, seed=seed, global_batch=global_batch, micro_batch=micro_batch
        )
        self.dataset = FinetuneDataset(
            self.selection,
            self.stream.order,
            options,
            passed_by=passed_by.read(self.selection) if passed_by else NOTHING,
        )
        self.options = options
        self.val_options = (
            None if options.val_selection is None else validation_options(options, val_clips, val_crops)
        )
        self.loader, self._passed_by = loader, passed_by

    def train_dataloader(self) -> BatchLoader:
        """Load this rank's micro-batches from the next position on, without end."""
        return make_loader(
            self.dataset,
            collate_labeled,
            self.stream.sampler(*_rank_and_world(self)),
            self.loader,
            self._passed_by,
        )

    def on_after_batch_transfer(self, batch: LabeledBatch, dataloader_idx: int) -> LabeledBatch:
        """Crop on the device what was not cropped before."""
        return finish_crops(batch, self.options.size, self.options.crop_resampling)

    def validation_loader(self) -> BatchLoader:
        """Load this rank's share of the validation videos; for one pass, with workers of its own."""
        assert self.val_selection is not None
        assert self.val_options is not None
        rank, world = _rank_and_world(self)
        passed_by = self._passed_by.read(self.val_selection) if self._passed_by else NOTHING
        dataset = EvaluationDataset(
            self.val_selection, self.val_options, rank=rank, world=world, passed_by=passed_by
        )
        # No more clips at once than in training, all of whose tokens are computed here.
        clips = self.val_options.num_clips * self.val_options.num_crops
        fitting = self.stream.micro_batch * self.options.views // clips
        return evaluation_loader(
            dataset,
            self.loader,
            batch_videos=max(1, min(self.stream.micro_batch, fitting)),
            passed_by=self._passed_by,
        )

    def advance(self, num_videos: int) -> None:
        """Count the videos of a finished optimizer step, on all ranks together."""
        self.stream.advance(num_videos)

    def state_dict(self) -> dict[str, Any]:
        """Give the next position and what it depends on."""
        return self.stream.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at a checkpoint's position.

        Raises:
            CheckpointError: It belongs to other data or another order.
        """
        self.stream.load_state_dict(state_dict)


_MIDDLE: dict[TrainingWindows, TestWindows] = {
    "dense": "middle_dense",
    "strided": "middle_strided",
    "uniform": "middle_uniform",
    "uniform_v1": "middle_uniform",
}


def validation_options(options: FinetuneDataOptions, num_clips: int, num_crops: int) -> EvaluationDataOptions:
    """Choose the views that suit a fine-tuning's own: its middle window, or those of the published test.

    Args:
        options: Of the fine-tuning, with a selection to validate on.
        num_clips: Clips of each video.
        num_crops: Crops of each clip.
    """
    assert options.val_selection is not None
    spans_the_video = options.windows.startswith("uniform")
    several: TestWindows = "interleaved" if spans_the_video else "spread"
    return EvaluationDataOptions(
        path=options.path,
        selection=options.val_selection,
        num_frames=options.num_frames,
        windows=_MIDDLE[options.windows] if num_clips == 1 else several,
        stride=options.stride,
        frame_interval_sec=options.frame_interval_sec,
        size=options.size,
        num_clips=num_clips,
        num_crops=num_crops,
        antialias=options.crop_resampling == "uint8_antialias",
    )


def _rank_and_world(module: pl.LightningDataModule) -> tuple[int, int]:
    """Ask the trainer; without one there is a single rank."""
    return (0, 1) if module.trainer is None else (module.trainer.global_rank, module.trainer.world_size)
