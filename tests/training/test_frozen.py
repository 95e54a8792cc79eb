"""Training of a head on a frozen encoder: it learns what is there to learn, and the encoder never moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch._dynamo
from stepping import PLAIN, fit
from torch.utils.data import IterableDataset

from videomae_train.model import VideoMAEConfig, VideoMAEForVideoClassification
from videomae_train.optim import OptimizerOptions
from videomae_train.randomness import keyed_rng
from videomae_train.training.module import StepOptions, SteppingModule
from videomae_train.training.options import MixOptions
from videomae_train.training.plan import Budget, plan_steps
from videomae_train.training.tasks import ClassificationTask
from videomae_train.training.updating import UpdateOptions
from videomae_train.types import LabeledBatch

CONFIG = VideoMAEConfig(
    image_size=16, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=48, drop_path_rate=0.5, hidden_dropout_prob=0.2, head_init_scale=0.5,
).with_labels(3)  # fmt: skip
SGD = OptimizerOptions("sgd", None, None, 0.0, 1.0)
ADAMW = OptimizerOptions("adamw", (0.9, 0.999), 1e-8, 0.05, 0.7)


def colours(first: int, size: int) -> LabeledBatch:
    """Clips of noise in which one of the three colours is stronger: linearly separable."""
    labels = torch.tensor([number % 3 for number in range(first, first + size)])
    clips = torch.from_numpy(keyed_rng("toy", first).integers(0, 156, (size, 4, 3, 16, 16), "uint8"))
    clips[torch.arange(size), :, labels] += 100
    return LabeledBatch(clips, labels, torch.arange(first, first + size), ())


class Colours(IterableDataset[LabeledBatch]):
    def __iter__(self) -> Iterator[LabeledBatch]:
        first = 0
        while True:
            yield colours(first, 16)
            first += 16


def trained(
    kind: str,
    run: Path,
    *,
    optimizer: OptimizerOptions,
    frozen: int | str = "all",
    update: UpdateOptions = PLAIN,
) -> tuple[SteppingModule, dict[str, torch.Tensor]]:
    """A trained module and the weights it began with."""
    torch.manual_seed(0)
    model = VideoMAEForVideoClassification(replace(CONFIG, head_kind=kind))  # type: ignore[arg-type]
    model.encoder.freeze(frozen)  # type: ignore[arg-type]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plan = plan_steps(
        Budget(None, 40, None, 0), num_videos=160, global_batch=16, micro_batch=16, world_size=1,
        base_lr=1.6 if optimizer is SGD else 0.08, min_lr=0.0,
    )  # fmt: skip
    options = StepOptions(0, update, log_every_steps=20, max_fault_ratio=0.0, max_nonfinite_steps=2)
    task = ClassificationTask(model, MixOptions(0.0, 0.0, 0.0), 3)
    module = SteppingModule(task, plan, optimizer, options, on_step=lambda videos: None)
    fit(module, Colours(), run, until=40)  # type: ignore[arg-type]
    return module, before


@pytest.mark.parametrize(("kind", "optimizer"), [("batch_norm", SGD), ("attentive", ADAMW)])
def test_probe__learns_what_is_linearly_separable(
    kind: str, optimizer: OptimizerOptions, tmp_path: Path
) -> None:
    module, before = trained(kind, tmp_path, optimizer=optimizer)
    model = module.model
    assert isinstance(model, VideoMAEForVideoClassification)
    for name, tensor in model.state_dict().items():
        moved = not torch.equal(tensor, before[name])
        assert moved == name.startswith(("head.", "standardise.", "pool.") if kind == "batch_norm" else
                                        ("head.", "pool.", "fc_norm.")), name  # fmt: skip
    assert all(parameter.grad is None for parameter in model.encoder.parameters())
    asked = colours(10_000, 60)
    assert (model.eval().folded().classify(asked.clips).argmax(1) == asked.labels).all()


def test_frozen_prefix__moves_by_nothing_with_decay_and_average(tmp_path: Path) -> None:
    module, before = trained(
        "linear", tmp_path, optimizer=ADAMW, frozen=1, update=replace(PLAIN, ema_decay=0.5)
    )
    frozen = ("encoder.patch_embed.", "encoder.blocks.0.")
    with module.averaged_weights():
        averaged = {name: tensor.clone() for name, tensor in module.model.state_dict().items()}
    for state in (module.model.state_dict(), averaged):
        for name, tensor in state.items():
            assert torch.equal(tensor, before[name]) == name.startswith(frozen), name
    groups = module.optimizers().param_groups  # type: ignore[union-attr]
    scales = {group["lr_scale"] for group in groups}
    assert scales == {0.7, 1.0}, (
        "the layers that train have the rates they would have without a frozen prefix"
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["batch_norm", "attentive"])
def test_compiled__frozen_or_not_has_the_same_losses_and_gradients(kind: str) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    still = replace(CONFIG, head_kind=kind, drop_path_rate=0.0, hidden_dropout_prob=0.0)  # type: ignore[arg-type]
    found = {}
    for compiled in (False, True):
        torch.manual_seed(0)
        model = VideoMAEForVideoClassification(still)
        model.encoder.freeze(1)
        task = ClassificationTask(model, MixOptions(0.0, 0.0, 0.0), 3, compile=compiled)
        for first in (0, 16):
            loss = task.loss(colours(first, 16))
            loss.backward()
        gradients = {
            name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None
        }
        found[compiled] = {"loss": loss, **gradients, **dict(model.named_buffers())}
    assert found[True].keys() == found[False].keys()
    for name, tensor in found[True].items():
        torch.testing.assert_close(tensor, found[False][name], rtol=1e-3, atol=1e-5, msg=name)
