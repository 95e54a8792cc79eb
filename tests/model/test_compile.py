"""One graph from bytes to loss: a host sync or boolean indexing anywhere would break it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from small_models import random_clips, shake, token_numbers
from torch import Tensor

from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def gradients(model: torch.nn.Module, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


def assert_close(compiled: Tensor, eager: Tensor) -> None:
    assert (compiled - eager).abs().max() <= 1e-5 * eager.abs().max().clamp_min(1.0)


@pytest.mark.parametrize("kind", ["joint", "cross"])
@pytest.mark.parametrize("norm_pix_loss", [True, False])
@pytest.mark.parametrize("path", ["training_loss", "dual_masking_loss"])
def test_pretraining__is_one_graph(config: VideoMAEConfig, kind: str, norm_pix_loss: bool, path: str) -> None:
    """Traced with its backward pass; the code generator is not needed to find a break."""
    model = VideoMAEForPreTraining(replace(config, decoder_kind=kind, norm_pix_loss=norm_pix_loss))
    shake(model)
    arguments = (random_clips(config), *token_numbers(config.grid))
    eager = getattr(model, path)(*arguments)
    compiled = torch.compile(getattr(model, path), fullgraph=True, backend="aot_eager")(*arguments)
    assert_close(compiled, eager)
    for left, right in zip(gradients(model, compiled), gradients(model, eager), strict=True):
        assert_close(left, right)


def test_classification__is_one_graph(config: VideoMAEConfig) -> None:
    model = VideoMAEForVideoClassification(replace(config, drop_path_rate=0.1).with_labels(5)).eval()
    shake(model)
    clips = random_clips(config)
    compiled = torch.compile(model.classify, fullgraph=True, backend="aot_eager")(clips)
    assert_close(compiled, model.classify(clips))
    model.train()
    torch.compile(model.classify, fullgraph=True, backend="aot_eager")(clips).sum().backward()


def test_new_numbers_of_the_same_shape__do_not_compile_again(config: VideoMAEConfig) -> None:
    model = VideoMAEForPreTraining(config)
    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(model.training_loss, fullgraph=True, backend=counter)
    visible_idx, hidden_idx = token_numbers(config.grid)
    for shift in range(3):
        compiled(random_clips(config), visible_idx.roll(shift, 0), hidden_idx.roll(shift, 0))
    assert counter.frame_count == 1


def test_module_compile__keeps_the_names_of_the_state(config: VideoMAEConfig) -> None:
    model = VideoMAEForVideoClassification(config.with_labels(5))
    names = list(model.state_dict())
    model.compile(fullgraph=True, backend="aot_eager")
    model(torch.randn(1, 4, 3, 32, 48))
    assert list(model.state_dict()) == names


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["joint", "cross"])
def test_generated_code__agrees_with_eager(config: VideoMAEConfig, kind: str) -> None:
    model = VideoMAEForPreTraining(replace(config, decoder_kind=kind))
    shake(model)
    arguments = (random_clips(config), *token_numbers(config.grid))
    eager = model.training_loss(*arguments)
    compiled = torch.compile(model.training_loss, fullgraph=True)(*arguments)
    assert_close(compiled, eager)
    for left, right in zip(gradients(model, compiled), gradients(model, eager), strict=True):
        assert_close(left, right)


@pytest.mark.slow
def test_generated_code__of_the_classifier_agrees_with_eager(config: VideoMAEConfig) -> None:
    model = VideoMAEForVideoClassification(config.with_labels(5)).eval()
    shake(model)
    clips = random_clips(config)
    assert_close(torch.compile(model.classify, fullgraph=True)(clips), model.classify(clips))
