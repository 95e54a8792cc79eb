"""Lightning data modules: one endless training loader whose whole state is the next position."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from videomae_train.data.datasets import (
    DecodeSampler,
    EvaluationDataset,
    FinetuneDataset,
    MaskSampler,
    PretrainDataset,
)
from videomae_train.data.index import PackedDataset, Selection
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
)
from videomae_train.data.order import EpochOrder, MicroBatchSampler
from videomae_train.errors import CheckpointError, ConfigError
from videomae_train.types import PatchGrid

_MIN_BATCHES_PER_WINDOW = 4


class TrainingStream:
    """The order of a training run and how far it has come.

    Args:
        selection: The videos.
        seed: The run's seed.
        window_videos: Videos that are shuffled together.
        global_batch: Videos per step on all ranks.
        micro_batch: Videos per micro-batch on one rank.

    Raises:
        ConfigError: The window is too small to mix global batches.
    """

    def __init__(
        self, selection: Selection, *, seed: int, window_videos: int, global_batch: int, micro_batch: int
    ) -> None:
        _check_window(window_videos, global_batch, len(selection))
        self.order = EpochOrder(
            selection.sample_ids,
            selection.shard_numbers,
            fingerprint=selection.fingerprint,
            seed=seed,
            window_videos=window_videos,
        )
        self.global_batch = global_batch
        self.micro_batch = micro_batch
        self.next_position = 0

    def sampler(self, rank: int, world: int) -> MicroBatchSampler:
        """List the micro-batches of a rank from the next position on."""
        return MicroBatchSampler(
            self.next_position,
            global_batch=self.global_batch,
            micro_batch=self.micro_batch,
            rank=rank,
            world=world,
        )

    def advance(self, num_videos: int) -> None:
        """Count the videos of a finished step, on all ranks together."""
        self.next_position += num_videos

    def state_dict(self) -> dict[str, int | str]:
        """Say where the run is and in which order."""
        return {"next_position": self.next_position, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another run was.

        Raises:
            CheckpointError: That run had other videos or another order.
        """
        for name, value in self._identity().items():
            if state[name] != value:
                raise CheckpointError(
                    where=f"data.{name} in the checkpoint",
                    came=str(state[name]),
                    expected=f"{value}, as this run has it",
                    todo="Resume with the data, seed and batch of the checkpoint, or start a new run.",
                )
        self.next_position = state["next_position"]

    def _identity(self) -> dict[str, int | str]:
        return {
            "fingerprint": self.order.fingerprint,
            "seed": self.order.seed,
            "shuffle_window_videos": self.order.window_videos,
            "global_batch": self.global_batch,
        }


class PretrainDataModule(pl.LightningDataModule):
    """Masked clips for pretraining.

    Args:
        options: Videos and clips.
        loader: Workers and memory.
        mask_sampler: Draws bool (N,), True = hidden, always hiding the same number.
        decode_sampler: Chooses int64 (M,), the hidden tokens to reconstruct, always the same number.
        grid: Patch grid of a clip.
        seed: The run's seed.
        global_batch: Videos per step on all ranks.
        micro_batch: Videos per micro-batch on one rank; each gives `options.views` clips.

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
    ) -> None:
        super().__init__()
        self.selection = PackedDataset.open(options.path).select(options.selection)
        self.stream = TrainingStream(
            self.selection,
            seed=seed,
            window_videos=options.shuffle_window_videos,
            global_batch=global_batch,
            micro_batch=micro_batch,
        )
        self.dataset = PretrainDataset(
            self.selection,
            self.stream.order,
            options,
            mask_sampler=mask_sampler,
            decode_sampler=decode_sampler,
            grid=grid,
        )
        self.loader = loader

    def train_dataloader(self) -> BatchLoader:
        """Load this rank's micro-batches from the next position on, without end."""
        return make_loader(
            self.dataset, collate_pretrain, self.stream.sampler(*_rank_and_world(self)), self.loader
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


class FinetuneDataModule(pl.LightningDataModule):
    """Labelled clips for fine-tuning, and one deterministic view of each video for validation.

    Args:
        options: Videos and clips.
        loader: Workers and memory.
        seed: The run's seed.
        global_batch: Videos per step on all ranks.
        micro_batch: Videos per micro-batch on one rank; each gives `options.views` clips.

    Raises:
        ConfigError: The data set is not there, unlabelled, or options contradict each other.
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
    ) -> None:
        super().__init__()
        packed = PackedDataset.open(options.path)
        self.selection = packed.select(
            options.selection, per_class=options.per_class, seed=options.per_class_seed
        )
        self.val_selection = packed.select(options.val_selection)
        self.stream = TrainingStream(
            self.selection,
            seed=seed,
            window_videos=options.shuffle_window_videos,
            global_batch=global_batch,
            micro_batch=micro_batch,
        )
        self.dataset = FinetuneDataset(self.selection, self.stream.order, options)
        self.val_options = _validation_options(options)
        self.loader = loader

    def train_dataloader(self) -> BatchLoader:
        """Load this rank's micro-batches from the next position on, without end."""
        return make_loader(
            self.dataset, collate_labeled, self.stream.sampler(*_rank_and_world(self)), self.loader
        )

    def val_dataloader(self) -> BatchLoader:
        """Load this rank's share of the validation videos, one middle clip and centre crop of each."""
        rank, world = _rank_and_world(self)
        dataset = EvaluationDataset(self.val_selection, self.val_options, rank=rank, world=world)
        return evaluation_loader(dataset, self.loader, batch_videos=self.stream.micro_batch)

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


def _validation_options(options: FinetuneDataOptions) -> EvaluationDataOptions:
    return EvaluationDataOptions(
        path=options.path,
        selection=options.val_selection,
        num_frames=options.num_frames,
        stride=options.stride,
        size=options.size,
        windows="middle_dense",
        num_clips=1,
        num_crops=1,
    )


def _rank_and_world(module: pl.LightningDataModule) -> tuple[int, int]:
    """Ask the trainer; without one there is a single rank."""
    return (0, 1) if module.trainer is None else (module.trainer.global_rank, module.trainer.world_size)


def _check_window(window_videos: int, global_batch: int, num_videos: int) -> None:
    least = _MIN_BATCHES_PER_WINDOW * global_batch
    if window_videos < min(least, num_videos):
        raise ConfigError(
            where="data.shuffle_window_videos",
            came=f"{window_videos} with a global batch of {global_batch}",
            expected=f"at least {_MIN_BATCHES_PER_WINDOW} global batches, {least}",
            todo="Raise it; larger windows shuffle better and read less locally.",
        )
