from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import videomae
from safetensors.numpy import load_file

from videomae_train.data.index import PackedDataset
from videomae_train.data.synthetic import generate_motion_videos
from videomae_train.inference import VideoFeatures, find_videos
from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining

CONFIG = VideoMAEConfig(
    image_size=16, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=48, decoder_hidden_size=12, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
    decoder_intermediate_size=24,
)  # fmt: skip
QUICK = ["--stride", 2, "--workers", 0, "--accelerator", "cpu", "--batch-clips", 3]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained") / "weights"
    torch.manual_seed(0)
    VideoMAEForPreTraining(CONFIG).save_pretrained(folder)
    return folder


@pytest.fixture
def videos(motion_videos: Path, tmp_path: Path) -> Path:
    """Two good ones, of which names share a stem, and a broken one."""
    good = sorted((motion_videos.parent / "videos").rglob("*.mp4"))
    for name, content in {
        "a/run.1.mp4": good[0].read_bytes(),
        "b/run.1.mp4": good[1].read_bytes(),
        "broken.mp4": b"rubbish",
    }.items():
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).write_bytes(content)
    return tmp_path / "videos"


def test_folder__has_a_file_for_each_video_and_the_faults(
    weights: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ("features", weights, videos, "--out", out, *QUICK, "--window-stride", 2)
    assert videomae(*command) == 0
    assert "1 of 3 videos could not be read" in capsys.readouterr().err
    assert [fault["key"] for fault in json.loads((out / "faults.json").read_text())["faults"]] == [
        "broken.mp4"
    ]
    extractor = VideoFeatures.from_pretrained(
        weights, stride=2, window_stride=2, batch_clips=3, num_workers=0, device="cpu"
    )
    for video in extractor.extract(find_videos(videos)):
        if video.fault is None:
            tensors = load_file(out / f"{video.key}.safetensors")
            np.testing.assert_array_equal(tensors["features"], video.features)
            np.testing.assert_array_equal(tensors["start_frames"], range(0, 10, 2))
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*.safetensors")}
    assert len(before) == 2
    assert videomae(*command) == 0
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*.safetensors")} == before
    assert "3 of 3 videos are there" in capsys.readouterr().err
    assert videomae(*command, "--layer", 1) == 2


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_file__is_the_same_as_the_folder(weights: Path, videos: Path, tmp_path: Path, kind: str) -> None:
    out, folder = tmp_path / f"out.{kind}", tmp_path / "folder"
    asked = ("features", weights, videos, *QUICK, "--clips", 2, "--per", "video", "--pooling", "space")
    assert videomae(*asked, "--out", out) == 0
    assert videomae(*asked, "--out", folder, "--format", kind) == 0
    joined = load_file(out) if kind == "safetensors" else np.load(out)
    for key in ("a/run.1.mp4", "b/run.1.mp4"):
        file = folder / f"{key}.{kind}"
        alone = load_file(file) if kind == "safetensors" else np.load(file)
        np.testing.assert_array_equal(joined[f"features/{key}"], alone["features"])
        assert alone["features"].shape == (2, 24)
    assert "broken.mp4" in (tmp_path / f"out.{kind}.faults.json").read_text()
    assert not (tmp_path / f"out.{kind}.unfinished").exists()
    before = out.read_bytes()
    assert videomae(*asked, "--out", out) == 0
    assert videomae(*asked, "--out", out, "--layer", 0) == 2
    assert out.read_bytes() == before


def test_packed_set__is_named_by_its_keys(weights: Path, packed_motions: Path, tmp_path: Path) -> None:
    asked = ("features", weights, packed_motions, *QUICK, "--window-stride", 4)
    assert videomae(*asked, "--out", tmp_path / "out", "--selection", "split/test") == 0
    dataset = PackedDataset.open(packed_motions)
    keys = {dataset.key(row) for row in dataset.select("split/test").sample_ids.tolist()}
    assert {file.stem for file in (tmp_path / "out").glob("*.safetensors")} == keys
    assert len(keys) == 4


def test_exit_codes__of_nothing_readable_and_of_wrong_requests(
    weights: Path, videos: Path, packed_motions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("features", weights)
    assert videomae(*asked, videos / "broken.mp4", *QUICK, "--out", tmp_path / "none.npz") == 1
    assert "no readable video among 1" in capsys.readouterr().err
    assert "undecodable" in (tmp_path / "none.npz.faults.json").read_text()
    for wrong in (
        (videos, "--out", tmp_path / "x.npz", "--format", "safetensors"),
        (videos, "--out", tmp_path / "x", "--selection", "split/test"),
        (videos, packed_motions, "--out", tmp_path / "x"),
        (videos, "--out", videos),
        (videos, "--out", tmp_path / "x", "--layer", 3),
    ):
        assert videomae(*asked, *QUICK, *wrong) == 2, wrong
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_killed_process__goes_on_and_ends_with_the_same_bytes(weights: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle of videos, twice; then to the end."""
    out = "all.npz"
    generate_motion_videos(
        tmp_path / "videos", num_videos=2, seed=0, size=64, num_frames=300, classes=("move_left", "move_up")
    )
    (tmp_path / "videos" / "broken.mp4").write_bytes(b"rubbish")
    asked = [
        *(sys.executable, "-m", "videomae_train.cli", "features", str(weights), str(tmp_path / "videos")),
        *("--window-stride", "1", "--batch-clips", "10", "--workers", "2", "--accelerator", "cpu", "--out"),
    ]
    subprocess.run([*asked, str(tmp_path / "straight" / out)], check=True)
    expected = tree(tmp_path / "straight")
    target = tmp_path / "killed" / out
    work = target.with_name(f"{out}.unfinished")
    for _ in range(2):
        before = progress(work)
        process = subprocess.Popen([*asked, str(target)], start_new_session=True)
        while process.poll() is None and progress(work) < before + 4:
            time.sleep(0.005)
        assert process.poll() is None, "it was faster than this test"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert progress(work) > before
    said = subprocess.run([*asked, str(target)], check=True, capture_output=True, text=True).stderr
    assert "Going on" in said
    assert tree(tmp_path / "killed") == expected


def progress(folder: Path) -> int:
    """Count parts, and a finished video as more than it may have of them."""
    return len(list(folder.rglob("*.part"))) + 100 * len(list(folder.rglob("*.mp4.safetensors")))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
