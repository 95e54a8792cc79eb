"""What lies between gradients and new weights, inside the loop: the gate, the average, the loss scale, clipping."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytorch_lightning as pl
import torch
from stepping import ADAMW, Batches, fit, make_batch, make_module
from torch.utils._python_dispatch import TorchDispatchMode

from videomae_train.errors import CheckpointError
from videomae_train.evaluation.number_format import PrecisionName
from videomae_train.model import load_pretraining_model
from videomae_train.model.sources import open_source
from videomae_train.optim import OptimizerOptions
from videomae_train.training.checkpoint_files import newest_checkpoint
from videomae_train.training.module import SteppingModule
from videomae_train.training.updating import UpdateOptions

EMA = UpdateOptions(precision="fp32", clip_grad_norm=None, ema_decay=0.75)
LAMB = OptimizerOptions("lamb", (0.9, 0.95), 1e-6, 0.05, 1.0)


class Weights(pl.Callback):
    """Keeps the weights after each optimizer step, and before the first."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.keep(pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        assert isinstance(pl_module, SteppingModule)
        if pl_module.at_step_boundary:
            self.keep(pl_module)

    def keep(self, module: pl.LightningModule) -> None:
        assert isinstance(module, SteppingModule)
        self.steps.append({name: w.detach().clone() for name, w in module.model.named_parameters()})


def equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


@pytest.mark.parametrize("optimizer", [ADAMW, LAMB], ids=lambda options: options.name)
@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
@pytest.mark.parametrize("micro_batch", [4, 2])
def test_bad_step__leaves_everything_as_it_was_and_is_counted(
    tmp_path: Path, optimizer: OptimizerOptions, factor: float, micro_batch: int
) -> None:
    kept, moved = Weights(), []
    # Step 3 (videos 8..11): the last of its micro-batches is bad.
    module = make_module(micro_batch, optimizer=optimizer, update=EMA, poisoned=[11], factor=factor)
    module._on_step = moved.append
    fit(module, Batches(0, micro_batch), tmp_path, until=4, also=[kept])
    assert equal(kept.steps[2], kept.steps[3])
    assert not equal(kept.steps[3], kept.steps[4])
    assert all(bool(w.isfinite().all()) for w in kept.steps[4].values())
    assert moved == [4, 4, 4, 4]  # the data's position moves on over the bad step too
    assert module.latest["train/num_skipped"] == 1
    assert torch.isfinite(torch.tensor(module.latest["train/loss"]))


class Constant(NamedTuple):
    """A schedule that does not tell steps apart."""

    peak: float

    def __call__(self, step: int) -> float:
        return self.peak


def test_bad_step__is_for_optimiser_and_average_as_if_it_had_not_been(tmp_path: Path) -> None:
    class WithoutThird(Batches):
        def __iter__(self) -> Iterator[Any]:
            yield from (make_batch(first, 4) for first in (0, 4, 12))

    held, without = make_module(4, update=EMA, poisoned=range(8, 12)), make_module(4, update=EMA)
    for module in (held, without):
        module.plan = replace(module.plan, schedule=Constant(0.01))  # type: ignore[arg-type]
    fit(held, Batches(0, 4), tmp_path / "held", until=4)
    fit(without, WithoutThird(0, 4), tmp_path / "without", until=3)
    assert equal(held.model.state_dict(), without.model.state_dict())
    with held.averaged_weights(), without.averaged_weights():
        assert equal(held.model.state_dict(), without.model.state_dict())


def test_average__follows_every_optimizer_step_and_no_micro_batch(tmp_path: Path) -> None:
    kept = Weights()
    module = make_module(2, update=EMA)
    fit(module, Batches(0, 2), tmp_path, until=4, also=[kept])
    expected = kept.steps[0]
    for number, weights in enumerate(kept.steps[1:], 1):
        decay = min(0.75, (1 + number) / (10 + number))
        expected = {name: decay * expected[name] + (1 - decay) * w for name, w in weights.items()}
    own = {name: w.clone() for name, w in module.model.state_dict().items()}
    with module.averaged_weights():
        for name, tensor in module.model.state_dict().items():
            torch.testing.assert_close(tensor, expected[name], rtol=1e-12, atol=1e-12, msg=name)
    assert equal(own, module.model.state_dict())


def test_average__changes_neither_training_nor_names(tmp_path: Path) -> None:
    plain, averaged = make_module(4), make_module(4, update=EMA)
    fit(plain, Batches(0, 4), tmp_path / "plain", until=4)
    fit(averaged, Batches(0, 4), tmp_path / "averaged", until=4)
    assert list(plain.state_dict()) == list(averaged.state_dict())
    assert equal(plain.state_dict(), averaged.state_dict())


@pytest.mark.parametrize("poisoned", [(), (5,)])
def test_average__is_in_the_checkpoint_and_resumes_bit_for_bit(
    tmp_path: Path, poisoned: tuple[int, ...]
) -> None:
    """Within its warm-up, of which a step that was held back is no part."""
    straight = make_module(2, update=EMA, poisoned=poisoned)
    fit(straight, Batches(0, 2), tmp_path / "straight", until=4)
    fit(make_module(2, update=EMA, poisoned=poisoned), Batches(0, 2), tmp_path / "killed", until=2)
    half = newest_checkpoint(tmp_path / "killed")
    resumed = make_module(2, update=EMA)
    fit(resumed, Batches(8, 2), tmp_path / "killed", ckpt=half, until=4)
    newest = newest_checkpoint(tmp_path / "killed")
    assert newest is not None
    saved = open_source(newest, entry="averaged_weights").state
    raw = load_pretraining_model(newest).state_dict()
    with straight.averaged_weights(), resumed.averaged_weights():
        assert equal(straight.model.state_dict(), resumed.model.state_dict())
        assert equal(saved, straight.model.state_dict())
        assert not equal(saved, raw)
    with pytest.raises(CheckpointError, match=r"optim\.ema_decay: 0\.75 in the checkpoint"):
        fit(make_module(2), Batches(8, 2), tmp_path / "other", ckpt=half, until=4)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision__learns_what_float32_learns(tmp_path: Path, precision: PrecisionName) -> None:
    losses: dict[str, float] = {}
    names: tuple[PrecisionName, ...] = ("fp32", precision)
    for name in names:
        update = UpdateOptions(name, clip_grad_norm=1.0, ema_decay=None)
        module = make_module(2, total=8, max_nonfinite_steps=8, update=update, dtype=torch.float32)
        module.model.encoder.patch_embed.register_forward_hook(seen := Formats())
        fit(module, Batches(0, 2), tmp_path / name, until=8)
        losses[name] = module.latest["train/loss"]
        assert {w.dtype for w in module.model.parameters()} == {torch.float32}
        assert seen.formats == {{"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]}
    assert losses[precision] == pytest.approx(losses["fp32"], rel=0.03)
    assert losses[precision] != losses["fp32"]


class Formats:
    def __init__(self) -> None:
        self.formats: set[torch.dtype] = set()

    def __call__(self, _module: object, _inputs: object, output: torch.Tensor) -> None:
        self.formats.add(output.dtype)


def test_loss_scale__is_off_the_gradients_before_they_are_clipped(tmp_path: Path) -> None:
    """With the scale still on, every norm would be thousands, and clipping would turn them to almost nothing."""
    norms = {}
    names: tuple[PrecisionName, ...] = ("fp32", "fp16")
    for name in names:
        update = UpdateOptions(name, clip_grad_norm=0.01, ema_decay=None)
        module = make_module(4, update=update, dtype=torch.float32)
        fit(module, Batches(0, 4), tmp_path / name, until=1)
        norms[name] = module.latest["train/grad_norm"]
        assert module.latest["train/num_skipped"] == 0
    assert norms["fp16"] == pytest.approx(norms["fp32"], rel=0.02)


def test_loss_scale__halves_over_an_overflow_and_resumes(tmp_path: Path) -> None:
    update = UpdateOptions("fp16", clip_grad_norm=None, ema_decay=None)
    module = make_module(4, update=update, dtype=torch.float32, poisoned=range(4, 8), factor=float("inf"))
    fit(module, Batches(0, 4), tmp_path, until=3)
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert torch.load(newest, weights_only=True)["update"]["loss_scale"]["scale"] == 2.0**15
    resumed = make_module(4, update=update, dtype=torch.float32)
    fit(resumed, Batches(12, 4), tmp_path, ckpt=newest, until=4)
    assert resumed.latest["train/num_skipped"] == 1
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert torch.load(newest, weights_only=True)["update"]["loss_scale"]["scale"] == 2.0**15


def test_clipping__bounds_the_gradient_and_reports_the_norm_before(tmp_path: Path) -> None:
    plain, clipped = make_module(4), make_module(4, update=UpdateOptions("fp32", 1e-3, None))
    seen: list[float] = []
    own_step = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, closure: Any = None) -> Any:
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        seen.append(float(torch.nn.utils.get_total_norm(gradients)))
        return own_step(self, closure)

    fit(plain, Batches(0, 4), tmp_path / "plain", until=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step)
        fit(clipped, Batches(0, 4), tmp_path / "clipped", until=1)
    assert seen == [pytest.approx(1e-3, rel=1e-2)]
    assert clipped.latest["train/grad_norm"] == plain.latest["train/grad_norm"] > 0.01


class Looks(TorchDispatchMode):
    """Notes every place that looks at a tensor's value, which waits for the device where that is a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in (
            torch.ops.aten._local_scalar_dense,
            torch.ops.aten.nonzero,
            torch.ops.aten.equal,
        ):
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@contextmanager
def looks_noted() -> Iterator[list[str]]:
    with Looks() as looks:
        yield looks.names


class Watch(pl.Callback):
    """Watches the micro-batches of the steps between the first report and the last."""

    def __init__(self, steps: range) -> None:
        self._steps, self._scope = steps, None
        self.names: list[str] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        assert isinstance(pl_module, SteppingModule)
        if pl_module.step in self._steps:
            self._scope = looks_noted()
            self._found = self._scope.__enter__()
            if torch.cuda.is_available():
                torch.cuda.set_sync_debug_mode("error")

    def on_train_batch_end(self, *_: object) -> None:
        if self._scope is not None:
            torch.cuda.set_sync_debug_mode("default") if torch.cuda.is_available() else None
            self._scope.__exit__(None, None, None)
            self._scope = None
            self.names += self._found


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_step__never_waits_for_the_device_between_reports(tmp_path: Path, precision: PrecisionName) -> None:
    update = UpdateOptions(precision, clip_grad_norm=1.0, ema_decay=0.9)
    module = make_module(2, total=8, log_every_steps=4, update=update, dtype=torch.float32)
    watch = Watch(range(1, 3))
    fit(module, Batches(0, 2), tmp_path, until=4, also=[watch])
    assert watch.names == []
    assert module.latest


def test_optimiser_without_fused_kernel__would_be_found_waiting(tmp_path: Path) -> None:
    """The check on the check; and what the documentation says of other optimisers: once a step."""
    module = make_module(2, total=8, log_every_steps=4, optimizer=LAMB)
    watch = Watch(range(1, 3))
    fit(module, Batches(0, 2), tmp_path, until=4, also=[watch])
    assert len(watch.names) >= 2
