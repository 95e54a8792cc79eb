"""What a task computes from a micro-batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch._dynamo
from stepping import CONFIG as PRETRAINING
from stepping import make_batch
from timm.data.mixup import Mixup
from torch.nn import functional as F

from videomae_train.model import (
    VideoMAEConfig,
    VideoMAEForPreTraining,
    VideoMAEForVideoClassification,
    normalise_clips,
)
from videomae_train.training.options import MixOptions
from videomae_train.training.tasks import ClassificationTask, ReconstructionTask, Task
from videomae_train.types import LabeledBatch

CONFIG = VideoMAEConfig(
    image_size=32, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=48, image_mean=(0.5, 0.4, 0.3), image_std=(0.1, 0.2, 0.3), head_init_scale=1.0,
)  # fmt: skip


def batch() -> LabeledBatch:
    clips = torch.randint(0, 256, (4, 4, 32, 32, 3), dtype=torch.uint8).permute(0, 1, 4, 2, 3)
    return LabeledBatch(clips, torch.tensor([0, 1, 2, 1]), torch.arange(4), ())


@pytest.fixture
def model() -> VideoMAEForVideoClassification:
    torch.manual_seed(0)
    return VideoMAEForVideoClassification(CONFIG.with_labels(3)).eval()


def logits_of(model: VideoMAEForVideoClassification, given: LabeledBatch) -> torch.Tensor:
    """Weights may have another mean than ImageNet's: they train on what they are evaluated on."""
    return model(normalise_clips(given.clips, CONFIG.image_mean, CONFIG.image_std)).logits


def test_classification__normalises_by_the_models_own_statistics(
    model: VideoMAEForVideoClassification,
) -> None:
    given = batch()
    loss = ClassificationTask(model, MixOptions(0.0, 0.0, 0.1), 3).loss(given)
    assert abs(loss - F.cross_entropy(logits_of(model, given), given.labels, label_smoothing=0.1)) < 1e-6


def test_mixing__does_so_too(model: VideoMAEForVideoClassification, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mixup, "__call__", lambda _, pixels, labels: (pixels, torch.eye(3)[labels]))
    given = batch()
    loss = ClassificationTask(model, MixOptions(0.8, 0.0, 0.0), 3).loss(given)
    assert abs(loss - F.cross_entropy(logits_of(model, given), given.labels)) < 1e-6


def gradients(task: Task, given: object) -> dict[str, torch.Tensor]:
    task.model.zero_grad()
    torch.manual_seed(0)
    task.loss(given).backward()
    return {name: p.grad for name, p in task.model.named_parameters() if p.grad is not None}


def test_activation_checkpointing__gives_the_same_gradients() -> None:
    """Drop path draws the same again in the second forward pass."""
    model = VideoMAEForVideoClassification(
        replace(CONFIG, drop_path_rate=0.5, num_hidden_layers=3).with_labels(3)
    )
    task, given = ClassificationTask(model.double().train(), MixOptions(0.0, 0.0, 0.1), 3), batch()
    plain = {name: gradient.clone() for name, gradient in gradients(task, given).items()}
    model.set_grad_checkpointing()
    checkpointed = gradients(task, given)
    assert plain.keys() == checkpointed.keys() == dict(model.named_parameters()).keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, rtol=1e-12, atol=1e-15, msg=name)


def test_activation_checkpointing__of_pretraining_gives_the_same_gradients() -> None:
    torch.manual_seed(0)
    model = VideoMAEForPreTraining(PRETRAINING).double()
    task, given = ReconstructionTask(model), make_batch(0, 2)
    plain = {name: gradient.clone() for name, gradient in gradients(task, given).items()}
    model.set_grad_checkpointing()
    for name, gradient in gradients(task, given).items():
        torch.testing.assert_close(gradient, plain[name], rtol=1e-12, atol=1e-15, msg=name)


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_pretraining__has_the_same_losses_gradients_and_names() -> None:
    torch.manual_seed(0)
    model = VideoMAEForPreTraining(replace(PRETRAINING, num_hidden_layers=1))
    names = list(model.state_dict())
    eager, compiled = ReconstructionTask(model), ReconstructionTask(model, compile=True)
    for first in (0, 4):
        given = make_batch(first, 4)
        plain = {name: gradient.clone() for name, gradient in gradients(eager, given).items()}
        torch.testing.assert_close(compiled.loss(given), eager.loss(given), rtol=1e-5, atol=1e-6)
        for name, gradient in gradients(compiled, given).items():
            torch.testing.assert_close(gradient, plain[name], rtol=1e-3, atol=1e-5, msg=name)
    assert list(model.state_dict()) == names


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_classification__has_the_same_losses(model: VideoMAEForVideoClassification) -> None:
    mix, given = MixOptions(0.8, 0.0, 0.1), batch()
    losses = []
    for compile in (False, True):
        np.random.seed(0)  # mixup's draw
        losses.append(ClassificationTask(model, mix, 3, compile).loss(given))
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=1e-6)
