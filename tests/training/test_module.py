from collections.abc import Iterator
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, IterableDataset

from videomae_train.errors import TrainingError
from videomae_train.masking import TubeMask, split_mask
from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining
from videomae_train.optim import OptimizerOptions
from videomae_train.randomness import keyed_rng
from videomae_train.training.checkpoints import StepCheckpoint, newest_checkpoint
from videomae_train.training.module import StepOptions, SteppingModule
from videomae_train.training.plan import Budget, StepPlan, plan_steps
from videomae_train.training.tasks import ReconstructionTask
from videomae_train.types import Fault, PretrainBatch

CONFIG = VideoMAEConfig(
    image_size=16, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=48, decoder_hidden_size=12, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
    decoder_intermediate_size=24,
)  # fmt: skip


def make_batch(first: int, size: int, faults: tuple[Fault, ...] = ()) -> PretrainBatch:
    """Videos `first` .. `first + size - 1` of an endless random set."""
    clips, visible, hidden = [], [], []
    for number in range(first, first + size):
        rng = keyed_rng("clip", number)
        clips.append(torch.from_numpy(rng.integers(0, 256, (4, 3, 16, 16), dtype="uint8")))
        split = split_mask(TubeMask(0.5)(CONFIG.grid, rng))
        visible.append(torch.from_numpy(split[0]))
        hidden.append(torch.from_numpy(split[1]))
    ids = torch.arange(first, first + size)
    return PretrainBatch(torch.stack(clips), torch.stack(visible), torch.stack(hidden), ids, faults)


class Batches(IterableDataset[PretrainBatch]):
    def __init__(self, first: int, size: int, faults: tuple[Fault, ...] = ()) -> None:
        self.first, self.size, self.faults = first, size, faults

    def __iter__(self) -> Iterator[PretrainBatch]:
        number = self.first
        while True:
            yield make_batch(number, self.size, self.faults)
            number += self.size


def make_plan(micro_batch: int, total: int = 4) -> StepPlan:
    return plan_steps(
        Budget(None, total, None, 1), num_videos=100, global_batch=4, micro_batch=micro_batch, world_size=1,
        base_lr=0.1, min_lr=0.0,
    )  # fmt: skip


def make_module(micro_batch: int, *, total: int = 4, max_fault_ratio: float = 0.0) -> SteppingModule:
    torch.manual_seed(0)
    return SteppingModule(
        ReconstructionTask(VideoMAEForPreTraining(CONFIG).double()),
        make_plan(micro_batch, total),
        OptimizerOptions("adamw", (0.9, 0.95), 1e-8, 0.05, 1.0),
        StepOptions(seed=0, clip_grad_norm=None, log_every_steps=1, max_fault_ratio=max_fault_ratio),
        on_step=lambda videos: None,
    )


def fit(
    module: SteppingModule,
    dataset: Batches,
    run: Path,
    *,
    until: int = 4,
    ckpt: Path | None = None,
    every: int = 100,
) -> None:
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=until, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=run, callbacks=[StepCheckpoint(run, every_steps=every, keep=2)],
    )  # fmt: skip
    trainer.fit(module, DataLoader(dataset, batch_size=None), ckpt_path=ckpt)


def test_accumulation__gives_the_weights_of_the_whole_batch(tmp_path: Path) -> None:
    whole, parts = make_module(4), make_module(1)
    fit(whole, Batches(0, 4), tmp_path / "whole")
    fit(parts, Batches(0, 1), tmp_path / "parts")
    assert parts.plan.accumulation == 4
    assert whole.step == parts.step == 4
    for (name, ours), theirs in zip(whole.model.named_parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9, msg=name)
    # A broken accumulation (only the last micro-batch counts) must not pass: the weights did move.
    fresh = make_module(4)
    assert not torch.equal(fresh.model.mask_token, whole.model.mask_token)


def test_resume__goes_on_bit_for_bit(tmp_path: Path) -> None:
    straight = make_module(2)
    fit(straight, Batches(0, 2), tmp_path / "straight")
    fit(make_module(2), Batches(0, 2), tmp_path / "killed", until=2)
    resumed = make_module(2)
    fit(resumed, Batches(8, 2), tmp_path / "killed", ckpt=newest_checkpoint(tmp_path / "killed"))
    assert resumed.step == 4
    for ours, theirs in zip(straight.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_checkpoints__the_last_few_are_kept_and_the_newest_is_found(tmp_path: Path) -> None:
    fit(make_module(4), Batches(0, 4), tmp_path, every=1)
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == [
        "step-00000003.ckpt",
        "step-00000004.ckpt",
    ]
    assert newest_checkpoint(tmp_path) == tmp_path / "step-00000004.ckpt"
    assert newest_checkpoint(tmp_path / "nowhere") is None
    assert not list(tmp_path.glob("*.unfinished"))


def test_checkpoints__load_without_pickles(tmp_path: Path) -> None:
    fit(make_module(4), Batches(0, 4), tmp_path)
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    state = torch.load(newest, weights_only=True)
    assert state["progress"]["step"] == 4


def test_faults__are_kept_over_a_resume_and_stop_the_run_past_the_share(tmp_path: Path) -> None:
    fault = Fault("a", "shard-000000.tar", 1, 2, "truncated", "cut")
    tolerant = make_module(4, max_fault_ratio=0.5)
    fit(tolerant, Batches(0, 4, (fault,)), tmp_path, until=2)
    resumed = make_module(4, max_fault_ratio=0.5)
    fit(resumed, Batches(8, 4), tmp_path, ckpt=newest_checkpoint(tmp_path))
    assert resumed.faults == [fault, fault]
    with pytest.raises(TrainingError, match=r"a \(truncated\)"):
        fit(make_module(4, max_fault_ratio=0.1), Batches(0, 4, (fault,)), tmp_path / "strict")


def test_loss__that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    module = make_module(4)
    with torch.no_grad():
        module.model.mask_token.fill_(float("nan"))
    with pytest.raises(TrainingError, match="a loss of nan"):
        fit(module, Batches(0, 4), tmp_path)
