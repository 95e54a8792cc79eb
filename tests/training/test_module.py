from pathlib import Path

import pytest
import torch
from stepping import Batches, fit, make_module

from videomae_train.errors import TrainingError
from videomae_train.training.checkpoints import newest_checkpoint
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


def test_loss__that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    module = make_module(4)
    with torch.no_grad():
        module.model.mask_token.fill_(float("nan"))
    with pytest.raises(TrainingError, match="a loss of nan"):
        fit(module, Batches(0, 4), tmp_path, until=4)
