"""A study's record: the same figures from the archive as from the runs, nothing of the machine, no videos."""

import json
import tarfile
from pathlib import Path

import pytest
from studies import CLEAR, DATA, write_study

from videomae_train.benchmarks.study_reading import read_result
from videomae_train.benchmarks.study_record import write_record
from videomae_train.benchmarks.study_words import write_summary
from videomae_train.errors import ConfigError


@pytest.fixture
def out(tmp_path: Path) -> Path:
    out = tmp_path / "runs" / "study"
    sweep = write_study(out, "fair", {"null": CLEAR})
    run = sweep / "_shared" / "pretrain-0123"
    for folder in ("weights", "checkpoints", "reconstructions", "logs/version_0"):
        (run / folder).mkdir(parents=True)
    (run / "recipe.json").write_text(json.dumps({"run": str(run.absolute()), "data": {"path": DATA}}))
    (run / "attempt.json").write_text(json.dumps({"host": "this-machine", "process": 1}))
    record = json.loads((sweep / "sweep.json").read_text())
    (sweep / "sweep.json").write_text(json.dumps({**record, "host": "this-machine"}))
    (run / "logs" / "version_0" / "metrics.csv").write_text("step,loss\n1,0.9\n")
    for large in (
        "weights/model.safetensors",
        "checkpoints/step-2.ckpt",
        "reconstructions/step-00000002.mp4",
    ):
        (run / large).write_bytes(b"large")
    return out


def unpacked(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder


def test_record__says_what_the_runs_say(out: Path, tmp_path: Path) -> None:
    write_record(out, tmp_path / "study.tar.xz")
    again = unpacked(tmp_path / "study.tar.xz", tmp_path / "again")
    assert read_result(again / "fair" / "motions") == read_result(out / "fair" / "motions")
    assert write_summary(again).read_text() == write_summary(out).read_text()
    assert (again / "fair/motions/_shared/pretrain-0123/logs/version_0/metrics.csv").is_file()


def test_record__has_no_weights_no_pictures_and_no_paths_of_the_machine(out: Path, tmp_path: Path) -> None:
    count = write_record(out, tmp_path / "study.tar.xz")
    again = unpacked(tmp_path / "study.tar.xz", tmp_path / "again")
    files = [file for file in again.rglob("*") if file.is_file()]
    assert len(files) == count
    texts = [file.read_bytes() for file in files]
    assert b"large" not in texts
    own = (DATA.encode(), bytes(tmp_path), b"this-machine")
    assert not any(each in text for text in texts for each in own)
    attempt = json.loads((again / "fair/motions/_shared/pretrain-0123/attempt.json").read_text())
    assert attempt == {"host": "elsewhere", "process": 1}
    recipe = json.loads((again / "fair/motions/_shared/pretrain-0123/recipe.json").read_text())
    assert recipe == {"run": "study/fair/motions/_shared/pretrain-0123", "data": {"path": "data"}}


def test_record__leaves_out_what_could_not_be_gone_on_from(out: Path, tmp_path: Path) -> None:
    record = out / "fair" / "motions" / "sweep.json"
    content = json.loads(record.read_text())
    (point, *_), shared = content["points"].values(), {"run": "_shared/pretrain-0123"}
    point["score"], point["stages"]["pretrain"] = None, shared
    record.write_text(json.dumps(content))
    write_record(out, tmp_path / "study.tar.xz")
    again = unpacked(tmp_path / "study.tar.xz", tmp_path / "again") / "fair" / "motions"
    assert not (again / "_shared").exists()
    assert not (again / point["stages"]["evaluate"]["run"]).exists()
    others = [each for each in content["points"].values() if each is not point]
    assert all((again / each["stages"]["evaluate"]["run"] / "metrics.json").exists() for each in others)


def test_record__is_the_same_bytes_for_the_same_files(out: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_record(out, tmp_path / f"{name}.tar.xz")
    assert (tmp_path / "one.tar.xz").read_bytes() == (tmp_path / "two.tar.xz").read_bytes()


def test_record__of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no study"):
        write_record(tmp_path, tmp_path / "study.tar.xz")
