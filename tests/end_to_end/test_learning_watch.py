"""Pretraining that is watched through the command line: probes, pictures and alarms, and no trace in the weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import wandb
from command_line import QUICK, SMALL, videomae
from PIL import Image
from safetensors.numpy import load_file

from videomae_train.data.decoding import probe_video
from videomae_train.training.records import read_metric

SCORES = ("probe/knn_top1", "probe/linear_top1", "probe/effective_rank")


def pretrain(packed: Path, run: Path, *more: str) -> int:
    data = [f"data.path={packed}", "data.selection=split/train", f"run={run}"]
    return videomae("pretrain", "model=tiny", *SMALL, *QUICK, "+model.drop_path_rate=0.2", *data, *more)


def watching(packed: Path) -> list[str]:
    return [
        f"watch.probe.path={packed}", "watch.probe.selection=split/train", "watch.probe.val_selection=split/test",
        "watch.probe.stride=2", "watch.probe.videos=10", "watch.probe_every_steps=2",
        "watch.reconstruct_every_steps=3", "logger=offline",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def watched(packed_motions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("watched") / "run"
    assert pretrain(packed_motions, run, *watching(packed_motions)) == 0
    wandb.finish()  # it writes beside the run, and would not be done before this process ends
    return run


def test_watched_run__ends_in_the_weights_and_losses_of_one_that_nobody_watches(
    watched: Path, packed_motions: Path, tmp_path: Path
) -> None:
    assert pretrain(packed_motions, tmp_path / "run") == 0
    ours, theirs = (load_file(run / "weights" / "model.safetensors") for run in (watched, tmp_path / "run"))
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert read_metric(watched, "train/loss") == read_metric(tmp_path / "run", "train/loss")
    assert not (tmp_path / "run" / "reconstructions").exists()


def test_probes__are_recorded_when_asked_for(watched: Path) -> None:
    for name in SCORES:
        steps, values = read_metric(watched, name)
        assert steps == [2, 4, 6]
        assert all(0 <= value <= (24 if name.endswith("rank") else 1) for value in values)
    assert read_metric(watched, "probe/num_faults")[1] == [0, 0, 0]
    baselines = json.loads((watched / "run.json").read_text())["baselines"]
    for name, loss in baselines.items():
        assert read_metric(watched, f"baseline/{name}")[1] == [loss] * 6
    assert read_metric(watched, "probe/effective_rank")[1][0] >= 1


def test_pictures__are_a_strip_and_a_video_of_the_same_clip(watched: Path) -> None:
    folder = watched / "reconstructions"
    stems = ["step-00000003", "step-00000006"]
    names = [f"{stem}{end}" for stem in stems for end in (".mp4", ".png")]
    assert sorted(path.name for path in folder.iterdir()) == names
    first, second = (np.asarray(Image.open(folder / f"{stem}.png").convert("RGB")) for stem in stems)
    assert first.shape == second.shape
    assert probe_video((folder / "step-00000003.mp4").read_bytes(), where="picture").num_frames == 16


def test_pictures__may_be_of_the_end_only(packed_motions: Path, tmp_path: Path) -> None:
    assert pretrain(packed_motions, tmp_path / "run", "watch.reconstruct_every_steps=end") == 0
    assert sorted(path.name for path in (tmp_path / "run" / "reconstructions").iterdir()) == [
        "step-00000006.mp4", "step-00000006.png",
    ]  # fmt: skip


def test_pictures_and_probes__are_in_the_offline_record(watched: Path) -> None:
    (record,) = watched.glob("wandb/offline-run-*")
    media = {path.suffix for path in record.glob("files/media/**/*") if path.is_file()}
    assert media == {".png", ".mp4"}
    (log,) = record.glob("run-*.wandb")
    assert all(
        name.encode() in log.read_bytes() for name in (*SCORES, "train/num_alarms", "baseline/copy_nearest")
    )


def test_probe__wants_a_set_and_a_time(packed_motions: Path, tmp_path: Path) -> None:
    assert pretrain(packed_motions, tmp_path / "run", "watch.probe_every_steps=2") == 2
    assert pretrain(packed_motions, tmp_path / "run", f"watch.probe.path={packed_motions}") == 2
    assert not (tmp_path / "run" / "checkpoints").exists()
