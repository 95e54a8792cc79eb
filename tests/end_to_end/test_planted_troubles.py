"""Runs of the command with trouble planted in them: the right alarm each time, and none in a clean run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attempts import end_of, start
from command_line import QUICK, SMALL
from torch import Tensor

from videomae_train.data.views import Video
from videomae_train.masking import TubeMask
from videomae_train.model import VideoMAEForPreTraining, load_pretraining_model
from videomae_train.training.checkpoint_files import newest_checkpoint
from videomae_train.training.records import read_metric
from videomae_train.training.tasks import ReconstructionTask
from videomae_train.types import PatchGrid, PretrainBatch

WORKERS = ["loader.num_workers=1", "watch.alarms.reports=2"]
# A loss of this model takes no longer than its clips, which alone would be an alarm.
WITHOUT_A_CLOCK = ["watch.alarms.data_bound_share=1"]


class Ended:
    """A run that has ended, in a process of its own."""

    def __init__(self, packed: Path, folder: Path, plant: Callable[[], None], *more: str) -> None:
        self.run, self._said = folder / "run", folder / "said"
        data = [f"data.path={packed}", "data.selection=split/train", f"run={self.run}"]
        command = ["pretrain", "model=tiny", *SMALL, *QUICK, *data, *more]
        self.code = end_of(start(*command, before=plant, said=self._said))
        self.said = self._said.read_text()

    @property
    def alarms(self) -> list[str]:
        file = self.run / "alarms.json"
        names = [alarm["name"] for alarm in json.loads(file.read_text())] if file.exists() else []
        assert [
            line.split()[1].strip(",") for line in self.said.splitlines() if line.startswith("ALARM")
        ] == names
        return names


def compute_for(seconds: float) -> None:
    """Let every loss take so long, as that of a larger model would."""
    loss = ReconstructionTask.loss

    def slow(task: ReconstructionTask, batch: PretrainBatch) -> Tensor:
        time.sleep(seconds)
        return loss(task, batch)

    ReconstructionTask.loss = slow  # type: ignore[method-assign]


def test_clean_run__has_no_alarm(packed_motions: Path, tmp_path: Path) -> None:
    ended = Ended(packed_motions, tmp_path, lambda: compute_for(0.25), *WORKERS)
    assert ended.code == 0
    assert ended.alarms == []
    assert read_metric(ended.run, "train/num_alarms")[1] == [0] * 6


def test_slow_loader__is_data_bound(packed_motions: Path, tmp_path: Path) -> None:
    def plant() -> None:
        decode = Video.decode

        def slow(video: Video, indices: Any) -> Any:
            time.sleep(0.15)
            return decode(video, indices)

        Video.decode = slow  # type: ignore[method-assign]

    ended = Ended(packed_motions, tmp_path, plant, *WORKERS)
    assert ended.code == 0
    assert ended.alarms == ["data_bound"]
    assert "loader.num_workers" in ended.said


def poison(*steps: int) -> Callable[[], None]:
    """Make the losses of some steps NaN."""

    def plant() -> None:
        loss, calls = ReconstructionTask.loss, 0

        def poisoned(task: ReconstructionTask, batch: PretrainBatch) -> Tensor:
            nonlocal calls
            calls += 1
            return loss(task, batch) * (
                float("nan") if (calls + 1) // 2 in steps else 1.0
            )  # two micro-batches

        ReconstructionTask.loss = poisoned  # type: ignore[method-assign]

    return plant


def test_nan__is_said_and_reaches_no_weight(packed_motions: Path, tmp_path: Path) -> None:
    ended = Ended(packed_motions, tmp_path, poison(3), *WITHOUT_A_CLOCK)
    assert ended.code == 0
    assert ended.alarms == ["not_finite"]
    assert read_metric(ended.run, "train/num_skipped")[1] == [0, 0, 1, 1, 1, 1]
    weights = load_pretraining_model(ended.run / "weights").state_dict()
    assert all(bool(tensor.isfinite().all()) for tensor in weights.values())


def test_nan_without_end__stops_the_run_with_its_last_good_checkpoint(
    packed_motions: Path, tmp_path: Path
) -> None:
    many = ["trainer.max_nonfinite_steps=1", "trainer.checkpoint_every_steps=2"]
    ended = Ended(packed_motions, tmp_path, poison(3, 4, 5, 6), *WITHOUT_A_CLOCK, *many)
    assert ended.code == 1
    assert ended.alarms == ["not_finite"]
    assert "Traceback" not in ended.said
    checkpoint = newest_checkpoint(ended.run / "checkpoints")
    assert checkpoint is not None
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert all(bool(tensor.isfinite().all()) for tensor in state.values())


def test_inverted_mask__is_said_by_its_numbers(packed_motions: Path, tmp_path: Path) -> None:
    def plant() -> None:
        draw = TubeMask.__call__

        def inverted(sampler: TubeMask, grid: PatchGrid, rng: np.random.Generator) -> np.ndarray:
            return ~draw(sampler, grid, rng)

        TubeMask.__call__ = inverted  # type: ignore[method-assign]

    ended = Ended(packed_motions, tmp_path, plant, *WITHOUT_A_CLOCK)
    assert ended.code == 0
    assert ended.alarms == ["inverted_mask"]
    assert "the mask is inverted" in ended.said
    assert read_metric(ended.run, "train/num_alarms")[1] == [1] * 6


@pytest.mark.parametrize("ratio", [0.5, 0.9])
def test_model_that_encodes_what_it_predicts__is_said_whatever_the_numbers(
    ratio: float, packed_motions: Path, tmp_path: Path
) -> None:
    def plant() -> None:
        right = VideoMAEForPreTraining.training_loss

        def inverted(
            model: VideoMAEForPreTraining, clips: Tensor, visible: Tensor, hidden: Tensor, unscored: Tensor
        ) -> Tensor:
            return right(model, clips, hidden, hidden, unscored)

        VideoMAEForPreTraining.training_loss = inverted  # type: ignore[method-assign]

    ended = Ended(
        packed_motions, tmp_path, plant, *WITHOUT_A_CLOCK, f"masking.ratio={ratio}", "optim.steps=3"
    )
    assert ended.code == 0
    assert ended.alarms == ["inverted_mask"]
    assert "the very tokens that it is to predict" in ended.said
