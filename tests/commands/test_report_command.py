"""`videomae report` on real runs: what the verbs write is what the page reads."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import QUICK, SMALL, videomae

from videomae_train.config.attempts import recorded_attempt
from videomae_train.training.heartbeats import host_name


@pytest.fixture(scope="module")
def point(packed_motions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole chain, as a sweep's point holds it."""
    point = tmp_path_factory.mktemp("sweep") / "masking.ratio-0.75"
    data = [f"data.path={packed_motions}", "data.selection=split/train"]
    pretrain = ["masking.ratio=0.75", "watch.reconstruct_every_steps=6", f"run={point / 'pretrain'}"]
    assert videomae("pretrain", "model=tiny", *SMALL, *QUICK, *data, *pretrain) == 0
    finetune = [
        f"weights={point / 'pretrain' / 'weights'}",
        f"run={point / 'finetune'}",
        "data.val_selection=split/test",
    ]
    assert videomae("finetune", *QUICK, *data, *finetune, "optim.steps=3") == 0
    score = ["data.selection=split/test", "data.num_clips=1", "loader.num_workers=0", "data.stride=2"]
    weights = f"weights={point / 'finetune' / 'weights'}"
    assert videomae("evaluate", weights, data[0], *score, f"run={point / 'evaluate'}") == 0
    return point


def test_page__of_a_real_chain(point: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "pages" / "report.html"
    capsys.readouterr()
    assert videomae("report", point, "--out", out) == 0
    said = capsys.readouterr().out
    assert "on 4 of 4 videos of split/test" in said
    assert f"Page: {out}" in said
    page = out.read_text()
    for text in (
        "finetune, 3 of 3 steps: finished", "pretrain, 6 of 6 steps: finished", "predicting the mean costs",
        "name tube, ratio 0.75", "Hardest videos", "data:image/webp", "data:video/mp4", "Confusion matrix",
    ):  # fmt: skip
        assert text in page, text
    assert "No pictures" not in page, "the score names its set"
    names = {path.name for path in (tmp_path / "pages" / "report-figures").iterdir()}
    assert f"{point.name}-pretrain.png" in names


def test_page__of_a_sweep_with_one_video_reconstructed_by_every_model(
    point: Path, motion_videos: Path, tmp_path: Path
) -> None:
    video = next(motion_videos.parent.glob("videos/*/*.mp4"))
    out = tmp_path / "report.html"
    (point.parent / "masking.ratio-0.9").mkdir(exist_ok=True)
    assert videomae("report", point.parent, "--out", out, "--video", video, "--title", "mine") == 0
    page = out.read_text()
    assert "<h1>mine</h1>" in page
    assert "75 % hidden, tube" in page
    assert "masking.ratio-0.9: its folder is empty" in page


def test_a_video_that_cannot_be_read__is_said_there_and_on_the_page(
    point: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.html"
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    assert videomae("report", point, "--out", out, "--video", tmp_path / "broken.mp4") == 0
    assert "broken.mp4 could not be reconstructed" in out.read_text()
    assert "broken.mp4 could not be reconstructed" in capsys.readouterr().out


def test_wrong_requests__say_what_is_wrong(
    point: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert videomae("report", tmp_path, "--out", tmp_path / "report.html") == 2
    assert "a folder without a run in it" in capsys.readouterr().err
    assert videomae("report", point, "--out", tmp_path / "report.pdf") == 2
    assert "a file that ends in .html" in capsys.readouterr().err
    assert videomae("report") == 2


def test_a_report_without_a_video__needs_no_torch() -> None:
    """It runs on login nodes, where importing torch alone takes longer than the page."""
    code = "import sys, videomae_train.commands.report; print('torch' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "False"


def test_attempts__say_how_they_ended(tmp_path: Path) -> None:
    def attempt() -> dict[str, object]:
        return json.loads((tmp_path / "attempt.json").read_text())

    with recorded_attempt(tmp_path, total_steps=6, baselines={"predict_mean": 0.99}, videos="abc") as ours:
        assert attempt()["ended"] is None
        assert (attempt()["host"], attempt()["total_steps"]) == (host_name(), 6)
        ours.stopped_by = "SIGTERM"
    assert attempt()["stopped_by"] == "SIGTERM"
    assert attempt()["ended"] is not None
    with (
        pytest.raises(RuntimeError),
        recorded_attempt(tmp_path, total_steps=6, baselines={}, videos="abc"),
    ):
        raise RuntimeError("no luck")
    assert attempt()["failure"] == "RuntimeError: no luck"


def test_a_run_that_fails__is_told_with_its_reason(packed_motions: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["model=tiny", *SMALL, *QUICK, f"data.path={packed_motions}", f"run={run}"]
    diverges = [
        "optim.base_lr=1e30",
        "optim.warmup_steps=0",
        "optim.steps=40",
        "trainer.max_nonfinite_steps=2",
    ]
    assert videomae("pretrain", *arguments, *diverges) == 1
    out = tmp_path / "report.html"
    assert videomae("report", run, "--out", out) == 0
    page = out.read_text()
    assert "failed: TrainingError" in page
    assert "steps in a row whose loss or gradient was not finite" in page


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--out", "there.html", "a folder of this name is there"),
        ("--out", "file/x.html", "Not a directory|File exists"),
        ("--video", "nowhere.mp4", "nowhere.mp4, which is not there"),
        ("--data", "nowhere", "nowhere, which is not there"),
    ],
)
def test_what_cannot_be__is_refused_before_the_work(
    option: str, value: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there.html").mkdir()
    (tmp_path / "file").touch()
    assert videomae("report", tmp_path, option, tmp_path / value) == 2
    assert re.match(rf"Error: {option}: .*({said}); expected", capsys.readouterr().err)
