"""Several sets in one pretraining run, from the command line."""

from pathlib import Path

import pytest
from command_line import QUICK, SMALL, videomae

from videomae_train.training.records import read_metric

WITHOUT_STRIDE = [value for value in QUICK if not value.startswith("data.stride")]


def test_hybrid__trains_on_all_sets_and_says_so(packed_motions: Path, tmp_path: Path) -> None:
    sets = [f"data.sets.{name}.path={packed_motions}" for name in ("kinetics", "something")]
    extra = ["+data.sets.more.path=" + str(packed_motions), "+data.sets.more.selection=split/train"]
    given = ["data=pretrain_hybrid", *sets, *extra, "+data.sets.more.stride=3", f"run={tmp_path / 'run'}"]
    assert videomae("pretrain", "model=tiny", *SMALL, *WITHOUT_STRIDE, *given, "optim.steps=3") == 0
    assert len(read_metric(tmp_path / "run", "train/loss")[1]) == 3
    card = (tmp_path / "run" / "weights" / "README.md").read_text()
    assert "| sets | kinetics all, stride 4; more split/train, stride 3; something all, stride 2 |" in card
    assert "| videos | 44, " in card


def test_hybrid__is_not_mixed_with_one_set(
    packed_motions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [f"data.sets.{name}.path={packed_motions}" for name in ("kinetics", "something")]
    given = ["data=pretrain_hybrid", *sets, "data.stride=2", f"run={tmp_path / 'run'}"]
    assert videomae("pretrain", "model=tiny", *SMALL, *WITHOUT_STRIDE, *given) == 2
    assert "expected either path, selection and stride, or sets" in capsys.readouterr().err
