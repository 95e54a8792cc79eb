"""Strategies by the command line: going on from weights, averaging them, mixed precision, optimisers by name."""

from pathlib import Path

import pytest
import torch
from command_line import QUICK, SMALL, videomae

from videomae_train.model import load_classifier, load_pretraining_model
from videomae_train.model.sources import open_source
from videomae_train.training.records import read_metric


@pytest.fixture(scope="module")
def averaged(packed_motions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of float16 with averaged weights, checkpointed activations and clipping."""
    run = tmp_path_factory.mktemp("runs") / "averaged"
    strategies = [
        "optim.ema_decay=0.5", "trainer.precision=fp16", "trainer.activation_checkpointing=true",
        "optim.clip_grad_norm=1.0", "trainer.micro_batch=1",
    ]  # fmt: skip
    assert (
        videomae(
            "pretrain", "model=tiny", *SMALL, *QUICK, f"data.path={packed_motions}", f"run={run}", *strategies
        )
        == 0
    )
    return run


def test_weights_folder__holds_the_average_and_says_so(averaged: Path) -> None:
    checkpoint = averaged / "checkpoints" / "step-00000006.ckpt"
    ours = load_pretraining_model(averaged / "weights").state_dict()
    average = open_source(checkpoint, entry="averaged_weights").state
    own = load_pretraining_model(checkpoint).state_dict()
    for name, tensor in ours.items():
        assert torch.equal(tensor, average[name]), name
    assert any(not torch.equal(tensor, own[name]) for name, tensor in ours.items())
    card = (averaged / "weights" / "README.md").read_text()
    assert "| weights | exponential moving average over optimizer steps, decay 0.5" in card
    assert "step-00000006.ckpt" in card


def test_report__counts_arithmetic_memory_and_skipped_steps(averaged: Path) -> None:
    for name in ("tflops_per_sec", "peak_ratio", "memory_gib", "num_skipped"):
        steps, values = read_metric(averaged, f"train/{name}")
        assert steps == [1, 2, 3, 4, 5, 6]
        assert all(value > 0 for value in values) or name == "num_skipped"


def test_init__goes_on_from_weights_and_keeps_their_account(
    averaged: Path, packed_motions: Path, tmp_path: Path
) -> None:
    init = f"init={averaged / 'weights'}"
    run = ["model=tiny", *SMALL, *QUICK, f"data.path={packed_motions}", f"run={tmp_path / 'run'}"]
    # A first rate of 0: the weights after one step are those that came in.
    one_step = ["optim.steps=2", "optim.warmup_steps=1", "optim.base_lr=1e-30", "optim.min_lr=0"]
    assert videomae("pretrain", *run, init, *one_step) == 0
    theirs = load_pretraining_model(averaged / "weights").state_dict()
    for name, tensor in load_pretraining_model(tmp_path / "run" / "weights").state_dict().items():
        torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=1e-20, msg=name)
    assert "placed" in (tmp_path / "run" / "weights_report.txt").read_text()
    assert f"| started from | `{averaged / 'weights'}` |" in (tmp_path / "run/weights/README.md").read_text()


def test_init__of_another_architecture_is_refused(
    averaged: Path, packed_motions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["model=tiny", *SMALL, *QUICK, f"data.path={packed_motions}", f"run={tmp_path / 'run'}"]
    code = videomae("pretrain", *run, f"init={averaged / 'weights'}", "model.num_hidden_layers=1")
    assert code == 2
    assert "model: num_hidden_layers 1 (theirs 2)" in capsys.readouterr().err


def test_finetune__with_averaging_and_an_optimiser_of_timm(
    averaged: Path, packed_motions: Path, tmp_path: Path
) -> None:
    run = [*QUICK, f"data.path={packed_motions}", f"run={tmp_path / 'run'}", "optim.steps=3"]
    split = ["data.selection=split/train", "data.val_selection=split/test"]
    lion = ["optim.name=lion", "optim.eps=null", "optim.ema_decay=0.5"]
    assert videomae("finetune", f"weights={averaged / 'weights'}", *run, *split, *lion) == 0
    load_classifier(tmp_path / "run" / "weights")


def test_search_for_a_micro_batch__on_a_machine_without_gpus_is_refused_before_anything_is_written(
    packed_motions: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The configuration is right where there are some: only the run can say that there are none."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    run = tmp_path / "run"
    arguments = ["model=tiny", *SMALL, *QUICK, f"data.path={packed_motions}", f"run={run}"]
    asked = ["trainer.accelerator=auto", "trainer.micro_batch=auto"]
    assert videomae("pretrain", *arguments, *asked) == 2
    assert "trainer.micro_batch: auto on a CPU" in capsys.readouterr().err
    assert not any(run.iterdir())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.name=adamv", "optim.name: 'adamv'"),
        ("optim.name=lion", "optim.eps: 1e-08 for lion"),
        ("optim.ema_decay=1.0", "optim.ema_decay: 1.0"),
        ("trainer.micro_batch=auto", "trainer.micro_batch: auto on a CPU"),
        ("trainer.compile=reduce-overhead", "trainer.compile"),
        ("trainer.micro_batch=many", "trainer.micro_batch"),
    ],
)
def test_pretrain__what_cannot_be_done_is_refused_before_it_starts(
    override: str, message: str, packed_motions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    arguments = ["model=tiny", *SMALL, *QUICK, f"data.path={packed_motions}", f"run={run}"]
    assert videomae("pretrain", *arguments, override) == 2
    assert message in capsys.readouterr().err
    assert not (run / "checkpoints").exists()
