"""Choices of the data configuration in real runs."""

from pathlib import Path

import numpy as np
import pytest
from command_line import QUICK, SMALL, videomae

from videomae_train.training.records import read_metric


def losses(verb: str, run: Path, packed: Path, *changes: str) -> list[float]:
    arguments = ["model=tiny", *SMALL, *QUICK, f"data.path={packed}", "data.selection=split/train"]
    assert videomae(verb, *arguments, "optim.steps=4", f"run={run}", *changes) == 0
    return list(read_metric(run, "train/loss")[1])


def test_pretrain__crops_on_the_device_are_the_same_training(packed_motions: Path, tmp_path: Path) -> None:
    changes = ["data.views=2", "data.flip=true", "trainer.precision=bf16"]
    before = losses("pretrain", tmp_path / "cpu", packed_motions, *changes)
    after = losses("pretrain", tmp_path / "device", packed_motions, *changes, "data.crop_on=device")
    assert before == after


@pytest.mark.parametrize("place", ["cpu", "device"])
def test_finetune__with_every_published_switch(place: str, packed_motions: Path, tmp_path: Path) -> None:
    changes = [
        "data.val_selection=split/test", f"data.crop_on={place}", "data.crop_resampling=float_no_antialias",
        "data.erase_probability=0.5", "data.stride=null", "data.frame_interval_sec=0.08",
    ]  # fmt: skip
    assert np.isfinite(losses("finetune", tmp_path / "run", packed_motions, *changes)).all()


def test_something__recipes_run(packed_motions: Path, tmp_path: Path) -> None:
    quick = [value for value in QUICK if not value.startswith("data.stride")]
    arguments = ["data=finetune_something", "model=tiny", *SMALL, *quick, "data.val_selection=split/test"]
    run = [f"data.path={packed_motions}", f"run={tmp_path / 'run'}", "optim.steps=3"]
    assert videomae("finetune", *arguments, *run) == 0
    score = [
        f"weights={tmp_path / 'run' / 'weights'}",
        f"data.path={packed_motions}",
        f"run={tmp_path / 'score'}",
    ]
    chosen = ["data=evaluate_something", "data.selection=split/test", "loader.num_workers=0"]
    assert videomae("evaluate", *chosen, *score) == 0


def test_contradictions__are_told_before_anything_starts(
    packed_motions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["model=tiny", *SMALL, *QUICK, f"data.path={packed_motions}", f"run={tmp_path / 'run'}"]
    assert videomae("finetune", *arguments, "data.windows=uniform") == 2
    assert "data.stride: stride=2, frame_interval_sec=null with windows=uniform" in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoints").exists()
