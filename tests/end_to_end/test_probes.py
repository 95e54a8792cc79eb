"""Probes from the command line, on generated motions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from attempts import assert_same_run, end_of, num_steps, start, wait_for
from command_line import QUICK, SMALL, videomae

from videomae_train.model import load_classifier, load_pretraining_model, read_config
from videomae_train.training.records import read_metric

SPLIT = ["data.selection=split/train", "data.val_selection=split/test"]
# One pass of eight clips is a step: batch norm wants that many.
TRAINED = [
    "optim.global_batch=8", "optim.epochs=null", "optim.steps=8", "optim.warmup_epochs=null", "optim.warmup_steps=0",
    "trainer.micro_batch=8", "trainer.accelerator=cpu", "trainer.threads=1", "trainer.log_every_steps=4",
    "trainer.checkpoint_every_steps=2", "loader.num_workers=0", "logger=disabled", "data.stride=2",
]  # fmt: skip


@pytest.fixture(scope="module")
def weights(packed_motions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("pretrained") / "run"
    data = [f"data.path={packed_motions}", "data.selection=split/train", "optim.steps=3"]
    assert videomae("pretrain", "model=tiny", *SMALL, *QUICK, *data, f"run={run}") == 0
    return run / "weights"


def of_encoder(folder: Path) -> dict[str, torch.Tensor]:
    state = load_classifier(folder).state_dict()
    return {name: tensor for name, tensor in state.items() if name.startswith("encoder.")}


def pretrained_encoder(folder: Path) -> dict[str, torch.Tensor]:
    return load_pretraining_model(folder).state_dict()


def score(folder: Path, data: Path, run: Path, *more: str) -> dict[str, object]:
    views = ["data.selection=split/test", "data.num_clips=1", "data.num_crops=1", "data.stride=2"]
    arguments = [f"weights={folder}", f"data.path={data}", *views, "loader.num_workers=0", f"run={run}"]
    assert videomae("evaluate", *arguments, *more) == 0
    return json.loads((run / "metrics.json").read_text())


@pytest.fixture(scope="module")
def probes(weights: Path, packed_motions: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each probe that trains."""
    runs = {kind: tmp_path_factory.mktemp(kind) / "run" for kind in ("linear", "attentive")}
    for kind, run in runs.items():
        given = [f"probe={kind}", f"weights={weights}", f"data.path={packed_motions}", *SPLIT, *TRAINED]
        assert videomae("probe", *given, f"run={run}") == 0
    return runs


@pytest.mark.parametrize("kind", ["linear", "attentive"])
def test_probe__trains_the_head_alone_and_is_scored(
    kind: str, weights: Path, probes: dict[str, Path], packed_motions: Path, tmp_path: Path
) -> None:
    run, before = probes[kind], pretrained_encoder(weights)
    assert np.isfinite(read_metric(run, "train/loss")[1]).all()
    for name, tensor in of_encoder(run / "weights").items():
        assert torch.equal(tensor, before[name]), name
    state = torch.load(run / "checkpoints" / "step-00000008.ckpt", weights_only=True)
    in_optimizer = len(state["optimizer_states"][0]["state"])
    assert in_optimizer == {"linear": 2, "attentive": 22}[kind], "the head's parameters"
    assert score(run / "weights", packed_motions, tmp_path / "scores")["num_scored"] == 4
    card = (run / "weights" / "README.md").read_text()
    assert "| frozen | the whole encoder |" in card
    assert json.loads((run / "run.json").read_text())["verb"] == "probe"


def test_linear_probe__is_a_folder_for_transformers(probes: dict[str, Path]) -> None:
    run = probes["linear"]
    assert read_config(run / "weights").head_kind == "linear"
    theirs = transformers.VideoMAEForVideoClassification.from_pretrained(run / "weights")
    ours, unfolded = load_classifier(run / "weights"), load_classifier(run / "checkpoints/step-00000008.ckpt")
    assert unfolded.config.head_kind == "batch_norm"
    pixels = torch.randn(3, 4, 3, 32, 32)
    torch.testing.assert_close(ours(pixels).logits, unfolded(pixels).logits, rtol=1e-4, atol=1e-5)
    # transformers' epsilon of fc_norm is 1e-5 whatever the folder says.
    torch.testing.assert_close(theirs(pixels).logits, ours(pixels).logits, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("kind", ["linear", pytest.param("attentive", marks=pytest.mark.slow)])
def test_probe__that_was_killed_ends_as_the_one_left_alone(
    kind: str, weights: Path, probes: dict[str, Path], packed_motions: Path, tmp_path: Path
) -> None:
    given = [f"probe={kind}", f"weights={weights}", f"data.path={packed_motions}", *SPLIT, *TRAINED]
    process = start("probe", *given, f"run={tmp_path}")
    wait_for(lambda: num_steps(tmp_path) >= 3)
    os.kill(process, signal.SIGKILL)
    assert end_of(process) == -signal.SIGKILL
    assert end_of(start("probe", f"run={tmp_path}")) == 0, "by its folder alone"
    assert_same_run(tmp_path, probes[kind], 8)


def test_averaged_weights__of_a_checkpoint_bring_batch_norms_statistics(
    weights: Path, packed_motions: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    given = [f"weights={weights}", f"data.path={packed_motions}", *SPLIT, *TRAINED, "optim.ema_decay=0.5"]
    assert videomae("probe", "probe=linear", *given, f"run={run}") == 0
    checkpoint = run / "checkpoints" / "step-00000008.ckpt"
    for name, entry in (("own", []), ("average", ["--entry", "averaged_weights"])):
        assert videomae("convert", checkpoint, tmp_path / name, *entry) == 0
    left, average, own = (
        (folder / "model.safetensors").read_bytes()
        for folder in (run / "weights", tmp_path / "average", tmp_path / "own")
    )
    assert average == left, "what the run leaves behind"
    assert own != left


def test_frozen_prefix__with_layer_decay_average_and_drop_path(
    weights: Path, packed_motions: Path, tmp_path: Path
) -> None:
    run, data = tmp_path / "finetune", f"data.path={packed_motions}"
    lively = ["head.drop_path_rate=0.5", "optim.layer_decay=0.5", "optim.ema_decay=0.9", "frozen_blocks=1"]
    assert videomae("finetune", f"weights={weights}", data, *SPLIT, *QUICK, *lively, f"run={run}") == 0
    before = pretrained_encoder(weights)
    for state in (of_encoder(run / "weights"), of_encoder(run / "checkpoints/step-00000006.ckpt")):
        held = {name for name, tensor in state.items() if torch.equal(tensor, before[name])}
        frozen = {name for name in state if name.startswith(("encoder.patch_embed.", "encoder.blocks.0."))}
        assert held == frozen
    optimizer = torch.load(run / "checkpoints/step-00000006.ckpt", weights_only=True)["optimizer_states"][0]
    assert len(optimizer["state"]) == 13 + 2 + 2, "one block, norm and head"
    assert "frozen | the embedding and the first 1 blocks" in (run / "weights" / "README.md").read_text()


def on_two_ranks(*arguments: str) -> None:
    command = [Path(sys.executable).parent / "videomae", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_probe__on_two_ranks_takes_the_steps_of_one(
    weights: Path, packed_motions: Path, tmp_path: Path
) -> None:
    """Frozen parts take no part in the exchange of gradients, and nobody has to look for unused parameters."""
    given = ["probe=attentive", f"weights={weights}", f"data.path={packed_motions}", *SPLIT, *TRAINED]
    given += ["trainer.micro_batch=4"]
    assert videomae("probe", *given, f"run={tmp_path / 'one'}") == 0
    on_two_ranks("probe", *given, "trainer.devices=2", f"run={tmp_path / 'two'}")
    one, two = (load_classifier(tmp_path / ranks / "weights").state_dict() for ranks in ("one", "two"))
    for name, tensor in one.items():
        assert not name.startswith("encoder.") or torch.equal(two[name], tensor), name
        torch.testing.assert_close(two[name], tensor, rtol=0, atol=2e-5, msg=name)


@pytest.mark.slow
def test_linear_probe__on_two_ranks_is_validated_with_the_statistics_that_it_saves(
    weights: Path, packed_motions: Path, tmp_path: Path
) -> None:
    """Each rank's batch norm has seen other clips."""
    views = ["data.val_selection=split/test", "validation.every_epochs=null", "validation.every_steps=4"]
    given = ["probe=linear", f"weights={weights}", f"data.path={packed_motions}", *SPLIT, *TRAINED, *views]
    given += ["optim.global_batch=16", "trainer.devices=2"]
    on_two_ranks("probe", *given, f"run={tmp_path / 'straight'}")
    steps, losses = read_metric(tmp_path / "straight", "val/loss")
    views = ["data.windows=middle_dense", "threads=1"]
    scored = score(tmp_path / "straight" / "weights", packed_motions, tmp_path / "scores", *views)
    assert steps[-1] == 8
    probabilities = np.load(tmp_path / "scores" / "scores.npz")
    of_label = probabilities["probabilities"][np.arange(4), probabilities["labels"]]
    assert scored["num_scored"] == 4
    assert losses[-1] == pytest.approx(float(-np.log(of_label).mean()), rel=1e-3)


@pytest.mark.slow
def test_neighbours__are_the_same_to_the_last_digit_on_any_number_of_ranks(
    weights: Path, packed_motions: Path, tmp_path: Path
) -> None:
    given = ["probe=knn", f"weights={weights}", f"data.path={packed_motions}", *SPLIT, "data.stride=2"]
    given += ["accelerator=cpu", "batch_videos=1", "threads=1", "loader.num_workers=0"]
    assert videomae("probe", *given, f"run={tmp_path / 'one'}") == 0
    on_two_ranks("probe", *given, "devices=2", f"run={tmp_path / 'two'}")
    one, two = (dict(np.load(tmp_path / ranks / "scores.npz")) for ranks in ("one", "two"))
    for name, values in one.items():
        np.testing.assert_array_equal(two[name], values, err_msg=name)


def test_neighbours__vote_and_are_scored(weights: Path, packed_motions: Path, tmp_path: Path) -> None:
    knn = ["probe=knn", f"weights={weights}", f"data.path={packed_motions}", *SPLIT, "loader.num_workers=0"]
    few = ["data.stride=2", "knn.neighbours=3", "data.per_class=4", "accelerator=cpu", "batch_videos=3"]
    run = tmp_path / "knn"
    assert videomae("probe", *knn, *few, f"run={run}") == 0
    metrics, saved = json.loads((run / "metrics.json").read_text()), np.load(run / "scores.npz")
    assert metrics["voting"]["num_videos"] == 8
    assert (metrics["num_scored"], metrics["selection"], metrics["neighbours"]) == (4, "split/test", 3)
    assert metrics["top1"] == pytest.approx((saved["probabilities"].argmax(1) == saved["labels"]).mean())
    np.testing.assert_allclose(saved["probabilities"].sum(1), 1.0, rtol=1e-6)
    assert not (run / "weights").exists()
    views = ["data.windows=spread", "data.num_clips=2", "data.num_crops=3"]
    assert videomae("probe", *knn, *few, *views, f"run={tmp_path / 'views'}") == 0
    with_views = json.loads((tmp_path / "views" / "metrics.json").read_text())
    assert (with_views["views"], with_views["view_options"]["stride"]) == ("2 x 3", 2)


def test_mistakes__are_named(
    weights: Path, packed_motions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"weights={weights}", f"data.path={packed_motions}", *SPLIT, f"run={tmp_path / 'run'}"]
    for overrides, message in (
        (["probe=knn", "data.val_selection=split/train"], "share 12 videos"),
        (["probe=knn", "optim.steps=3"], "It belongs to another choice of a group"),
        (["probe=other"], "expected attentive, knn, linear"),
        (
            ["trainer.micro_batch=4", "optim.global_batch=8", "trainer.accelerator=cpu"],
            "4 clips; expected at least 8",
        ),
        (
            ["frozen_blocks=7", "trainer=cpu", "optim.steps=2", "optim.epochs=null", *TRAINED],
            "0 to 2, the encoder's",
        ),
        (["frozen_blocks=most"], "frozen_blocks"),
    ):
        assert videomae("probe", *given, *overrides) == 2, overrides
        assert message in capsys.readouterr().err, overrides
