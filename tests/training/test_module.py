from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from stepping import Batches, fit, make_module

from videomae_train.errors import TrainingError
from videomae_train.model import load_pretraining_model
from videomae_train.training.checkpoint_files import newest_checkpoint
from videomae_train.training.module import SteppingModule
from videomae_train.types import Fault


def test_accumulation__gives_the_weights_of_the_whole_batch(tmp_path: Path) -> None:
    whole, parts = make_module(4), make_module(1)
    fit(whole, Batches(0, 4), tmp_path / "whole", until=4)
    fit(parts, Batches(0, 1), tmp_path / "parts", until=4)
    assert parts.plan.accumulation == 4
    assert whole.step == parts.step == 4
    for (name, ours), theirs in zip(whole.model.named_parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9, msg=name)
    # A broken accumulation (only the last micro-batch counts) must not pass: the weights did move.
    fresh = make_module(4)
    assert not torch.equal(fresh.model.mask_token, whole.model.mask_token)


def test_resume__goes_on_bit_for_bit(tmp_path: Path) -> None:
    straight = make_module(2)
    fit(straight, Batches(0, 2), tmp_path / "straight", until=4)
    fit(make_module(2), Batches(0, 2), tmp_path / "killed", until=2)
    resumed = make_module(2)
    fit(resumed, Batches(8, 2), tmp_path / "killed", ckpt=newest_checkpoint(tmp_path / "killed"), until=4)
    assert resumed.step == 4
    for ours, theirs in zip(straight.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_checkpoints__the_last_few_are_kept_and_the_newest_is_found(tmp_path: Path) -> None:
    fit(make_module(4), Batches(0, 4), tmp_path, every=1, until=4)
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == [
        "step-00000003.ckpt",
        "step-00000004.ckpt",
    ]
    assert newest_checkpoint(tmp_path) == tmp_path / "step-00000004.ckpt"
    assert newest_checkpoint(tmp_path / "nowhere") is None
    assert not list(tmp_path.glob("*.unfinished"))


def test_checkpoints__load_without_pickles(tmp_path: Path) -> None:
    fit(make_module(4), Batches(0, 4), tmp_path, until=4)
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    state = torch.load(newest, weights_only=True)
    assert state["progress"]["step"] == 4


def test_faults__are_kept_over_a_resume_and_stop_the_run_past_the_share(tmp_path: Path) -> None:
    fault = Fault("a", "shard-000000.tar", 1, 2, "truncated", "cut")
    tolerant = make_module(4, max_fault_ratio=0.5)
    fit(tolerant, Batches(0, 4, (fault,)), tmp_path, until=2)
    resumed = make_module(4, max_fault_ratio=0.5)
    fit(resumed, Batches(8, 4), tmp_path, ckpt=newest_checkpoint(tmp_path), until=4)
    assert resumed.faults == [fault, fault]
    with pytest.raises(TrainingError, match=r"a \(truncated\)"):
        fit(make_module(4, max_fault_ratio=0.1), Batches(0, 4, (fault,)), tmp_path / "strict", until=4)


def test_nonfinite_steps__past_the_limit_stop_the_run_and_leave_a_good_checkpoint(tmp_path: Path) -> None:
    module = make_module(4, total=9, poisoned=range(8, 100))
    with pytest.raises(TrainingError, match=r"step 5: 3 steps in a row .* the weights are those of step 2"):
        fit(module, Batches(0, 4), tmp_path, every=1, until=9)
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    good = load_pretraining_model(newest)
    assert all(bool(tensor.isfinite().all()) for tensor in good.state_dict().values())


def test_nonfinite_steps__of_a_whole_short_run_are_no_success(tmp_path: Path) -> None:
    module = make_module(4, total=2, max_nonfinite_steps=20, poisoned=range(100))
    with pytest.raises(TrainingError, match="2 steps in a row"):
        fit(module, Batches(0, 4), tmp_path, until=2)


def test_settled_micro_batch__changes_accumulation_and_nothing_else(tmp_path: Path) -> None:
    whole, settled = make_module(4), make_module(1)
    settled.use_micro_batch(4)
    assert settled.plan == whole.plan


class Losses(pl.Callback):
    """Collects what is reported."""

    def __init__(self) -> None:
        self.at: dict[int, float] = {}

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        assert isinstance(pl_module, SteppingModule)
        if pl_module.latest:
            self.at[pl_module.step] = pl_module.latest["train/loss"]


@pytest.mark.parametrize("micro_batch", [2, 1, 4])
def test_report__after_a_resume_is_that_of_the_uninterrupted_run(tmp_path: Path, micro_batch: int) -> None:
    """It averages over steps before the checkpoint and after it, whatever micro-batches these came in."""
    straight, resumed = Losses(), Losses()
    fit(make_module(2, log_every_steps=4), Batches(0, 2), tmp_path / "a", until=4, also=[straight])
    fit(make_module(2, log_every_steps=4), Batches(0, 2), tmp_path / "b", until=3)
    going_on = make_module(micro_batch, log_every_steps=4)
    ckpt = newest_checkpoint(tmp_path / "b")
    fit(going_on, Batches(12, micro_batch), tmp_path / "b", ckpt=ckpt, until=4, also=[resumed])
    assert resumed.at.keys() == straight.at.keys() == {4}
    assert resumed.at[4] == pytest.approx(straight.at[4], rel=0 if micro_batch == 2 else 1e-12, abs=0)
