"""Several ranks on one machine, started by the command itself."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import QUICK, SMALL

from videomae_train.data.index import PackedDataset
from videomae_train.model import VideoMAEConfig, VideoMAEForVideoClassification, load_pretraining_model
from videomae_train.training.records import read_metric


def videomae(*arguments: str) -> None:
    command = Path(sys.executable).parent / "videomae"
    done = subprocess.run(
        [command, *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def pretrain(run: Path, *arguments: str) -> None:
    videomae("pretrain", "model=tiny", *SMALL, *QUICK, f"run={run}", *arguments)


@pytest.mark.slow
def test_two_ranks__take_the_steps_of_one_rank_that_accumulates(packed_motions: Path, tmp_path: Path) -> None:
    data = [f"data.path={packed_motions}", "trainer.micro_batch=1", "trainer.threads=1"]
    pretrain(tmp_path / "one", *data)
    pretrain(tmp_path / "two", *data, "trainer.devices=2")
    ours = load_pretraining_model(tmp_path / "one" / "weights").state_dict()
    theirs = load_pretraining_model(tmp_path / "two" / "weights").state_dict()
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=2e-6, msg=name)
    losses = read_metric(tmp_path / "one", "train/loss")[1]
    assert read_metric(tmp_path / "two", "train/loss")[1] == pytest.approx(losses, abs=1e-5)


@pytest.fixture
def classifier(packed_motions: Path, tmp_path: Path) -> Path:
    classes = PackedDataset.open(packed_motions).classes
    config = VideoMAEConfig(
        image_size=32, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48, head_init_scale=1.0,
    ).with_labels(dict(enumerate(classes)))  # fmt: skip
    torch.manual_seed(0)
    VideoMAEForVideoClassification(config).save_pretrained(tmp_path / "weights")
    return tmp_path / "weights"


@pytest.mark.slow
def test_evaluate__scores_are_the_same_to_the_last_digit_on_any_number_of_ranks(
    packed_motions: Path, classifier: Path, tmp_path: Path
) -> None:
    scores = {}
    for world in (1, 3):
        run = tmp_path / f"on-{world}"
        videomae(
            "evaluate", f"weights={classifier}", f"data.path={packed_motions}", "data.selection=split/test",
            "data.stride=2", "accelerator=cpu", f"devices={world}", "threads=1", "loader.num_workers=0", f"run={run}",
        )  # fmt: skip
        scores[world] = dict(np.load(run / "scores.npz"))
        metrics = json.loads((run / "metrics.json").read_text())
        assert metrics["num_scored"] == metrics["num_videos"] == len(scores[world]["labels"])
    assert len(np.unique(scores[1]["keys"])) == len(scores[1]["keys"]) > 2
    for name, values in scores[1].items():
        np.testing.assert_array_equal(scores[3][name], values, err_msg=name)
