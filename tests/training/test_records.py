from pathlib import Path

from videomae_train.training.records import cut_records, read_metric


def write_attempt(run: Path, number: int, text: str) -> Path:
    file = run / "logs" / f"version_{number}" / "metrics.csv"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return file


def test_cutting__leaves_no_step_that_was_taken_back(tmp_path: Path) -> None:
    write_attempt(tmp_path, 0, "step,train/loss\n1,0.9\n2,0.8\n3,0.7\n4,0.6\n")
    write_attempt(tmp_path, 1, "step,train/loss\n4,0.65\n5,0.5\n6,0.")  # half a row
    cut_records(tmp_path, 4)
    assert read_metric(tmp_path, "train/loss") == ([1, 2, 3, 4], [0.9, 0.8, 0.7, 0.65])
    cut_records(tmp_path, 0)
    assert all(file.read_text().splitlines() == ["step,train/loss"] for file in tmp_path.rglob("metrics.csv"))


def test_cutting__half_a_row_of_few_cells_goes_too(tmp_path: Path) -> None:
    file = write_attempt(tmp_path, 0, "lr,step,train/loss\n0.1,1,0.9\n0.1,1")
    cut_records(tmp_path, 5)
    assert file.read_text().splitlines() == ["lr,step,train/loss", "0.1,1,0.9"]


def test_cutting__a_run_without_records_is_nothing(tmp_path: Path) -> None:
    cut_records(tmp_path, 0)
    assert list(tmp_path.iterdir()) == []
