"""Fine-tuning with validation through the command line: best and last weights, and what is left of a kill."""

import json
import shutil
from pathlib import Path

import pytest
from attempts import end_of, final_state, start
from command_line import QUICK, SMALL, videomae

from videomae_train.model import load_classifier
from videomae_train.model.cards import read_facts
from videomae_train.training.records import read_metric

STEPS = 8


@pytest.fixture(scope="module")
def recipe(packed_motions: Path) -> list[str]:
    machine = ["trainer.checkpoint_every_steps=3", "trainer.threads=1"]
    data = [f"data.path={packed_motions}", "data.selection=split/train", "data.val_selection=split/test"]
    rates = ["optim.base_lr=0.1", "validation.every_epochs=null", "validation.every_steps=1"]
    return ["model=tiny", *SMALL, *QUICK, *machine, *data, *rates, f"optim.steps={STEPS}"]


@pytest.fixture(scope="module")
def straight(recipe: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("straight") / "run"
    assert videomae("finetune", *recipe, f"run={run}") == 0
    return run


def test_run__leaves_last_and_best_weights_that_say_so(
    straight: Path, recipe: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    steps, scores = read_metric(straight, "val/top1")
    assert steps == list(range(1, STEPS + 1))
    best = scores.index(max(scores)) + 1
    last_facts, best_facts = read_facts(straight / "weights"), read_facts(straight / "weights-best")
    assert last_facts is not None
    assert best_facts is not None
    assert (last_facts.kind, last_facts.step) == ("last", STEPS)
    assert (best_facts.kind, best_facts.step, best_facts.chosen_top1) == ("best", best, max(scores))
    assert best_facts.chosen_on is not None
    assert (best_facts.chosen_on.selection, best_facts.chosen_on.num_videos) == ("split/test", 4)
    assert last_facts.trained_on == best_facts.trained_on
    assert load_classifier(straight / "weights-best").config.num_labels == 2
    assert json.loads((straight / "run.json").read_text())["latest"]["val/best_step"] == best
    assert best < STEPS, "or the test would show nothing"


def test_validation__changes_nothing_in_training(straight: Path, recipe: list[str], tmp_path: Path) -> None:
    assert videomae("finetune", *recipe, "data.val_selection=null", f"run={tmp_path / 'run'}") == 0
    assert not (tmp_path / "run" / "weights-best").exists()
    ours, theirs = (run / "weights" / "model.safetensors" for run in (tmp_path / "run", straight))
    assert ours.read_bytes() == theirs.read_bytes()
    assert read_metric(tmp_path / "run", "train/loss") == read_metric(straight, "train/loss")


def test_killed_run__ends_with_the_same_best_weights(
    straight: Path, recipe: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(straight, run)
    # As if it had been killed after step 6, with a best from later on and without the end.
    (run / "checkpoints" / f"step-{STEPS:08d}.ckpt").unlink()
    (run / "run.json").unlink()
    shutil.rmtree(run / "weights")
    assert end_of(start("finetune", f"run={run}")) == 0
    for name in ("weights", "weights-best"):
        ours, theirs = (folder / name / "model.safetensors" for folder in (run, straight))
        assert ours.read_bytes() == theirs.read_bytes(), name
    assert read_facts(run / "weights-best") == read_facts(straight / "weights-best")
    assert read_metric(run, "val/loss") == read_metric(straight, "val/loss")
    state = final_state(run, STEPS)
    assert all((tensor == final_state(straight, STEPS)[name]).all() for name, tensor in state.items())


def test_videos_that_are_trained_on__are_refused(
    recipe: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert videomae("finetune", *recipe, "data.selection=all", f"run={tmp_path / 'run'}") == 2
    said = capsys.readouterr().err
    assert "4 of its 4 videos are in data.selection=all too" in said
    assert not (tmp_path / "run" / "recipe.json").exists()
