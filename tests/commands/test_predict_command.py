from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import torch
from command_line import videomae

from videomae_train.model import VideoMAEConfig, VideoMAEForVideoClassification

CONFIG = VideoMAEConfig(
    image_size=16, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=48, head_init_scale=100.0, id2label={0: "move_left", 1: "move, right", 2: "[red]stand"},
)  # fmt: skip
QUICK = ["--clips", 2, "--stride", 2, "--workers", 0, "--accelerator", "cpu"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier") / "weights"
    torch.manual_seed(0)
    VideoMAEForVideoClassification(CONFIG).save_pretrained(folder)
    return folder


@pytest.fixture
def videos(motion_videos: Path, tmp_path: Path) -> list[Path]:
    """A good one, a broken one, and another good one; names with brackets, commas and spaces."""
    good = sorted((motion_videos.parent / "videos").rglob("*.mp4"))
    paths = [tmp_path / name for name in ("[bold]one, a.mp4", "two b.mp4", "three.mp4")]
    for path, content in zip(paths, (good[0].read_bytes(), b"rubbish", good[1].read_bytes()), strict=True):
        path.write_bytes(content)
    return paths


def test_json__is_an_object_for_each_video_from_standard_input(
    weights: Path, videos: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(map(str, videos))))
    assert videomae("predict", weights, "-", *QUICK, "--format", "json", "--top-k", 2) == 0
    said = capsys.readouterr()
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [row["path"] for row in rows] == list(map(str, videos))
    assert [row["num_frames"] for row in rows] == [16, 0, 16]
    assert [len(row["classes"]) for row in rows] == [2, 0, 2]
    assert {each["label"] for each in rows[0]["classes"]} < set(CONFIG.id2label.values())
    assert rows[0]["fault"] is None
    assert rows[1]["fault"]["cause"] == "undecodable"
    assert "1 of 3 videos could not be read" in said.err


def test_csv__says_the_same_as_json(weights: Path, videos: list[Path], tmp_path: Path) -> None:
    for kind in ("csv", "json"):
        out = tmp_path / f"out.{kind}"
        assert videomae("predict", weights, *videos, *QUICK, "--format", kind, "--out", out) == 0
    rows = list(csv.DictReader((tmp_path / "out.csv").open(newline="")))
    objects = [json.loads(line) for line in (tmp_path / "out.json").read_text().splitlines()]
    assert list(rows[0])[:4] == ["path", "num_frames", "label_1", "probability_1"]
    for row, record in zip(rows, objects, strict=True):
        assert row["path"] == record["path"]
        for rank, each in enumerate(record["classes"], start=1):
            assert (row[f"label_{rank}"], float(row[f"probability_{rank}"])) == tuple(each.values())
        assert row["fault"] == (record["fault"] or {"detail": ""})["detail"]
    assert "probability_4" not in rows[0], "the model has three classes"


def test_interleaved_clips__are_those_of_models_of_something_something(
    weights: Path, videos: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "predict",
        weights,
        videos[0],
        "--workers",
        0,
        "--accelerator",
        "cpu",
        "--clips",
        2,
        "--format",
        "json",
    ]
    probabilities: list[list[dict[str, object]]] = []
    for windows in ("spread", "interleaved"):
        assert videomae(*command, "--windows", windows) == 0
        probabilities.append(json.loads(capsys.readouterr().out)["classes"])
    assert probabilities[0] != probabilities[1]
    assert videomae(*command, "--windows", "interleaved", "--stride", 4) == 2
    assert "stride" in capsys.readouterr().err


def test_table__shows_names_as_they_are(
    weights: Path, videos: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert videomae("predict", weights, *videos, *QUICK) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{videos[0]}  (16 frames)"
    assert {line.split("%  ")[1] for line in lines[1:4]} == set(CONFIG.id2label.values())
    assert lines[1].split()[0] == "1"
    assert lines[4] == str(videos[1])
    assert "undecodable" in lines[5]


def test_exit_codes__of_nothing_readable_and_of_wrong_requests(
    weights: Path, videos: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert videomae("predict", weights, videos[1], tmp_path / "absent.mp4", *QUICK, "--format", "json") == 1
    said = capsys.readouterr()
    assert [json.loads(line)["fault"]["cause"] for line in said.out.splitlines()] == [
        "undecodable",
        "missing",
    ]
    assert "no readable video among 2" in said.err
    (tmp_path / "nothing").mkdir()
    assert videomae("predict", weights, tmp_path / "nothing", *QUICK) == 2
    assert videomae("predict", weights, *QUICK) == 2
    assert videomae("predict", weights, videos[0], *QUICK, "--out", tmp_path / "nothing" / "deep" / "f") == 2
    assert videomae("predict", tmp_path, videos[0], *QUICK) == 1
