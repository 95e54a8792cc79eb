"""Videos to shards to weights to a score to pictures, through the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import QUICK, SMALL, videomae
from PIL import Image

from videomae_train.model import load_classifier, load_pretraining_model
from videomae_train.training.checkpoint_files import newest_checkpoint
from videomae_train.training.records import read_metric


@pytest.fixture(scope="module")
def pretrained(packed_motions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "pretrain"
    path = [f"data.path={packed_motions}", "data.selection=split/train", f"run={run}"]
    assert videomae("pretrain", "model=tiny", *SMALL, *QUICK, *path, "data.views=2") == 0
    return run


def test_pretrain__leaves_weights_records_and_a_card(pretrained: Path) -> None:
    model = load_pretraining_model(pretrained / "weights")
    assert model.config.hidden_size == 24
    steps, losses = read_metric(pretrained, "train/loss")
    assert steps == [1, 2, 3, 4, 5, 6]
    assert np.isfinite(losses).all()
    summary = json.loads((pretrained / "run.json").read_text())
    assert summary["steps"] == 6
    assert 0.9 < summary["baselines"]["predict_mean"] <= 1.0
    card = (pretrained / "weights" / "README.md").read_text()
    assert "tube mask, ratio 0.9" in card
    assert "6 of 4 videos x 2 view(s)" in card
    newest = newest_checkpoint(pretrained / "checkpoints")
    assert newest is not None
    assert newest.name == "step-00000006.ckpt"


def test_pretrain__a_run_is_not_overwritten(
    pretrained: Path, packed_motions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["model=tiny", *SMALL, *QUICK, f"data.path={packed_motions}", f"run={pretrained}"]
    assert videomae("pretrain", *arguments) == 2
    assert "holds a run already" in capsys.readouterr().err


def test_finetune_and_evaluate__end_in_a_score_on_every_video(
    pretrained: Path, packed_motions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, split = tmp_path / "finetune", ["data.selection=split/train", "data.val_selection=split/test"]
    data = f"data.path={packed_motions}"
    assert videomae("finetune", f"weights={pretrained / 'weights'}", *QUICK, *split, data, f"run={run}") == 0
    assert set(load_classifier(run / "weights").config.id2label.values()) == {"move_left", "move_right"}
    scores = tmp_path / "scores"
    selection = ["data.selection=split/test", "data.num_clips=2", "loader.num_workers=0", "data.stride=2"]
    capsys.readouterr()
    assert videomae("evaluate", f"weights={run / 'weights'}", data, *selection, f"run={scores}") == 0
    assert "on 4 of 4 videos" in capsys.readouterr().out
    metrics = json.loads((scores / "metrics.json").read_text())
    saved = np.load(scores / "scores.npz")
    assert metrics["top1"] == pytest.approx((saved["probabilities"].argmax(1) == saved["labels"]).mean())
    np.testing.assert_allclose(saved["probabilities"].sum(1), 1.0, rtol=1e-5)


def test_pretrain__in_bf16(packed_motions: Path, tmp_path: Path) -> None:
    arguments = ["model=tiny", *SMALL, *QUICK, f"data.path={packed_motions}", f"run={tmp_path / 'run'}"]
    assert videomae("pretrain", *arguments, "trainer.precision=bf16", "optim.steps=3") == 0
    assert np.isfinite(read_metric(tmp_path / "run", "train/loss")[1]).all()
    # Mixed precision: the weights themselves stay float32.
    state = load_pretraining_model(tmp_path / "run" / "weights").state_dict()
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}


@pytest.mark.slow
def test_pretrain__records_with_wandb_without_account_or_network(
    packed_motions: Path, tmp_path: Path
) -> None:
    quick = [value for value in QUICK if not value.startswith("logger")]
    arguments = [
        "model=tiny",
        *SMALL,
        *quick,
        f"data.path={packed_motions}",
        "logger=offline",
        "optim.steps=3",
    ]
    for name in ("first", "second"):  # of one process, each with a record of its own
        assert videomae("pretrain", *arguments, f"run={tmp_path / name}") == 0
        run_id = (tmp_path / name / "wandb_run_id.txt").read_text().strip()
        assert list((tmp_path / name / "wandb").glob(f"offline-run-*/run-{run_id}.wandb"))


def test_finetune__with_mixing_randaugment_and_layer_decay(packed_motions: Path, tmp_path: Path) -> None:
    arguments = [
        "model=tiny", *SMALL, *QUICK, f"data.path={packed_motions}", f"run={tmp_path / 'run'}",
        "data.selection=split/train", "data.val_selection=split/test", "data.views=1", "optim.steps=4",
    ]  # fmt: skip
    assert videomae("finetune", *arguments) == 0
    assert np.isfinite(read_metric(tmp_path / "run", "train/loss")[1]).all()


def test_reconstruct__writes_a_strip_and_looping_pictures(
    pretrained: Path, motion_videos: Path, tmp_path: Path
) -> None:
    video = next(motion_videos.parent.glob("videos/*/*.mp4"))
    assert (
        videomae("reconstruct", f"weights={pretrained / 'weights'}", f"video={video}", f"run={tmp_path}") == 0
    )
    assert Image.open(tmp_path / "strip.png").width > 200
    assert (tmp_path / "clip.mp4").stat().st_size > 0
    assert Image.open(tmp_path / "clip.gif").n_frames == 4  # type: ignore[attr-defined]
