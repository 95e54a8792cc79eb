"""Records of a run, read as they lie there: several attempts, halves, nonsense."""

from pathlib import Path

import numpy as np
import pytest

from videomae_train.training.metrics import read_records


def write_attempt(run: Path, number: int, text: str) -> None:
    file = run / "logs" / f"version_{number}" / "metrics.csv"
    file.parent.mkdir(parents=True)
    file.write_text(text)


def test_attempts__are_joined_and_the_later_counts(tmp_path: Path) -> None:
    write_attempt(tmp_path, 2, "step,train/loss\n3,0.3\n4,0.2\n")
    write_attempt(tmp_path, 10, "step,probe/knn_top1,train/loss\n4,,0.1\n4,0.5,\n")
    records = read_records(tmp_path)
    assert records.curves["train/loss"].steps.tolist() == [3, 4]
    assert records.curves["train/loss"].values.tolist() == [0.3, 0.1], "version_10 comes after version_2"
    assert records.curves["probe/knn_top1"].steps.tolist() == [4]
    assert (records.num_attempts, records.num_broken) == (2, 0)


@pytest.mark.parametrize("half", ["3,0.", "3", "3,0.123,7", "x"])
def test_half_a_row__is_left_out_whatever_it_looks_like(tmp_path: Path, half: str) -> None:
    write_attempt(tmp_path, 0, f"step,train/loss,train/lr\n1,0.9,1\n2,0.8,1\n{half}")
    records = read_records(tmp_path)
    assert records.curves["train/loss"].values.tolist() == [0.9, 0.8]
    assert records.num_broken == 0


@pytest.mark.parametrize("nonsense", ["2", "x,0.5", "2,half", "2.5,0.1", ",0.1", "2,1,3", "nan,1"])
def test_nonsense__is_left_out_and_counted(tmp_path: Path, nonsense: str) -> None:
    write_attempt(tmp_path, 0, f"step,train/loss\n1,0.9\n{nonsense}\n3,0.7\n")
    records = read_records(tmp_path)
    assert records.curves["train/loss"].steps.tolist() == [1, 3]
    assert records.num_broken == 1


def test_losses_that_are_not_finite__are_records_too(tmp_path: Path) -> None:
    write_attempt(tmp_path, 0, "step,train/loss\n1,nan\n2,inf\n")
    values = read_records(tmp_path).curves["train/loss"].values
    assert np.isnan(values[0])
    assert np.isposinf(values[1])


def test_no_records__are_no_curves(tmp_path: Path) -> None:
    write_attempt(tmp_path, 0, "step,train/lo")
    assert read_records(tmp_path).curves == {}
    assert read_records(tmp_path / "absent").num_attempts == 0
