"""Intervals over recordings, from the command line to the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import videomae

from videomae_train.config.loader import compose_config, load_config
from videomae_train.config.schema import EvaluateConfig
from videomae_train.config.scores import score_recipe
from videomae_train.data.index import PackedDataset
from videomae_train.evaluation.scoring import VideoScores, measure_accuracy
from videomae_train.model import VideoMAEConfig, VideoMAEForVideoClassification, save_weights_folder

CONFIG = VideoMAEConfig(
    image_size=32, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=48, head_init_scale=20.0,
)  # fmt: skip
# As if all videos of a class were cut from one recording.
ONE_PER_CLASS = "data.recordings='[a-z]+_[a-z]+'"


@pytest.fixture(scope="module")
def weights(packed_motions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    classes = PackedDataset.open(packed_motions).classes
    folder = tmp_path_factory.mktemp("weights")
    model = VideoMAEForVideoClassification(CONFIG.with_labels(dict(enumerate(classes))))
    save_weights_folder(model, folder, card="# test")
    return folder


def evaluate(packed: Path, weights: Path, run: Path, *words: str) -> int:
    data = [f"data.path={packed}", "data.selection=split/test", "data.stride=2", "data=evaluate_1x1"]
    return videomae("evaluate", f"weights={weights}", *data, "loader.num_workers=0", f"run={run}", *words)


def metrics_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "metrics.json").read_text())


def test_score__is_over_recordings_where_they_are_told(
    packed_motions: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(packed_motions, weights, tmp_path / "videos") == 0
    assert " over 4 videos)" in capsys.readouterr().out
    assert evaluate(packed_motions, weights, tmp_path / "recordings", ONE_PER_CLASS) == 0
    assert " over 2 recordings)" in capsys.readouterr().out
    alone, together = metrics_of(tmp_path / "videos"), metrics_of(tmp_path / "recordings")
    assert (alone["num_recordings"], together["num_recordings"]) == (None, 2)
    assert together["top1"] == alone["top1"]
    assert together["view_options"] == alone["view_options"], "the views are the same"
    saved = np.load(tmp_path / "recordings" / "scores.npz")
    scores = VideoScores(saved["sample_ids"], saved["labels"], saved["probabilities"], ())
    by_hand = measure_accuracy(scores, [str(label) for label in saved["labels"]])
    assert together["top1_interval"] == pytest.approx(by_hand.top1_interval)
    assert together["mean_class_interval"] == pytest.approx(by_hand.mean_class_interval)


def test_recording_that_is_not_found__is_told_before_anything_is_scored(
    packed_motions: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(packed_motions, weights, tmp_path / "run", r"data.recordings='v_.+_g\d+'") == 2
    assert "finds nothing in 4 of 4 keys" in capsys.readouterr().err
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_neighbours__have_them_too(
    packed_motions: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["data.selection=split/train", "data.val_selection=split/test", "data.stride=2", ONE_PER_CLASS]
    words = [f"weights={weights}", f"data.path={packed_motions}", *data, "loader.num_workers=0"]
    assert videomae("probe", "probe=knn", *words, f"run={tmp_path / 'run'}") == 0
    assert " over 2 recordings)" in capsys.readouterr().out
    assert metrics_of(tmp_path / "run")["num_recordings"] == 2


def test_recipe__of_a_score_without_them_is_what_it_was(packed_motions: Path, weights: Path) -> None:
    """Or every sweep from before would score all its points again."""

    def recipe(*words: str) -> dict[str, Any]:
        composed = compose_config(
            "evaluate", [f"weights={weights}", f"data.path={packed_motions}", "run=r", *words]
        )
        return score_recipe(load_config("evaluate", composed, EvaluateConfig), set())["data"]

    assert "recordings" not in recipe()
    assert recipe(ONE_PER_CLASS)["recordings"] == "[a-z]+_[a-z]+"
