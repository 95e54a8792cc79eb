"""Two ranks, forked from this process, against one: gradients to rounding, and one rank's bad batch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from stepping import Poisoned, RankBatches, fit, make_module

from videomae_train.errors import TrainingError
from videomae_train.training.checkpoint_files import checkpoint_path
from videomae_train.training.module import SteppingModule


class Records(pl.Callback):
    """Writes what each rank had in each step: its videos, its gradients, its weights, its report."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._videos: list[int] = []
        self._steps: list[dict[str, Any]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, SteppingModule)
        trainer.optimizers[0].register_step_pre_hook(lambda *_: self._keep_gradients(pl_module))

    def _keep_gradients(self, module: SteppingModule) -> None:
        gradients = {
            name: w.grad.clone() for name, w in module.model.named_parameters() if w.grad is not None
        }
        self._steps.append({"gradients": gradients})

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, SteppingModule)
        self._videos += batch.sample_ids.tolist()
        if pl_module.at_step_boundary:
            weights = {name: w.detach().clone() for name, w in pl_module.model.named_parameters()}
            self._steps[-1] |= {"videos": self._videos, "weights": weights, "latest": dict(pl_module.latest)}
            self._videos = []
            torch.save(self._steps, self._folder / f"rank{trainer.global_rank}.pt")


def run(
    folder: Path, micro_batch: int, world_size: int, *, poisoned: Sequence[int] = (), until: int = 2
) -> list[list[dict[str, Any]]]:
    """Train, and give what each rank had in each step."""
    folder.mkdir()
    module = make_module(micro_batch, world_size=world_size, poisoned=poisoned, total=9)
    fit(module, RankBatches(micro_batch), folder, until=until, also=[Records(folder)])
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(world_size)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return run(tmp_path_factory.mktemp("runs") / "whole", 4, 1)[0]


@pytest.mark.parametrize(("micro_batch", "world_size"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_gradients__are_those_of_one_batch_of_four(
    tmp_path: Path, whole: list[dict[str, Any]], micro_batch: int, world_size: int
) -> None:
    ranks = run(tmp_path / "parts", micro_batch, world_size)
    for number, expected in enumerate(whole):
        steps = [rank[number] for rank in ranks]
        assert [video for step in steps for video in step["videos"]] == expected["videos"]
        for step in steps:
            assert step["latest"]["train/loss"] == pytest.approx(expected["latest"]["train/loss"], rel=1e-12)
            for name, gradient in expected["gradients"].items():
                scale = float(gradient.abs().max())
                torch.testing.assert_close(
                    step["gradients"][name], gradient, rtol=1e-12, atol=1e-12 * scale, msg=name
                )


def test_bad_batch_of_one_rank__holds_both_back(tmp_path: Path) -> None:
    # Videos 4..7 make the second step; 6 and 7 are rank 1's.
    ranks = run(tmp_path / "bad", 1, 2, poisoned=[7], until=3)
    for steps in ranks:
        first, second, third = steps
        assert all(torch.equal(second["weights"][name], w) for name, w in first["weights"].items())
        assert not all(torch.equal(third["weights"][name], w) for name, w in first["weights"].items())
        assert [step["latest"]["train/num_skipped"] for step in steps] == [0, 1, 1]
    for ours, theirs in zip(*ranks, strict=True):
        assert all(torch.equal(theirs["weights"][name], w) for name, w in ours["weights"].items())
    assert ranks[0][2]["videos"] == [8, 9]
    assert ranks[1][2]["videos"] == [10, 11]


def test_bad_loss_with_good_gradients__holds_both_back_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradients that ranks exchange are finite then: only what ties them to the loss tells the other rank."""

    def loss(self: Poisoned, batch: Any) -> torch.Tensor:
        good = self._task.loss(batch)
        bad = any(int(number) in self._videos for number in batch.sample_ids)
        return good + float("inf") if bad else good

    monkeypatch.setattr(Poisoned, "loss", loss)
    for steps in run(tmp_path / "bad", 2, 2, poisoned=[7]):
        assert [step["latest"]["train/num_skipped"] for step in steps] == [0, 1]


def test_too_many_bad_steps__stop_all_ranks_alike(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="3 steps in a row") as caught:
        run(tmp_path / "bad", 2, 2, poisoned=range(3, 100, 4), until=9)
    assert isinstance(caught.value, TrainingError) or "TrainingError" in str(caught.value)


@pytest.mark.parametrize("global_batch", [3, 6])
def test_three_ranks__go_on_after_a_checkpoint_bit_for_bit(tmp_path: Path, global_batch: int) -> None:
    """With three, a sum depends on its order, and that on where in a bucket of DDP a gradient lies."""

    def attempt(run: Path, first: int, until: int, ckpt: Path | None = None) -> Path:
        module = make_module(1, world_size=3, global_batch=global_batch, dtype=torch.float32)
        fit(module, RankBatches(1, first * global_batch, global_batch), run, until=until, ckpt=ckpt)
        return checkpoint_path(run, until)

    straight = torch.load(attempt(tmp_path / "straight", 0, 4), weights_only=True)["state_dict"]
    halfway = attempt(tmp_path / "resumed", 0, 2)
    resumed = torch.load(attempt(tmp_path / "resumed", 2, 4, halfway), weights_only=True)["state_dict"]
    differing = [name for name, tensor in straight.items() if not torch.equal(tensor, resumed[name])]
    assert not differing
