"""One graph from bytes to loss: a branch on values anywhere would break it.

It says nothing of waiting for the device: compilers take `.item()` and boolean indexing into the graph by now, so
test_cost.py looks for those.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
import torch._dynamo.testing
from small_models import random_clips, shake, token_numbers
from torch import Tensor

from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification


@pytest.fixture
def shallow(config: VideoMAEConfig) -> VideoMAEConfig:
    """Tracing time grows with depth, and a second block shows nothing that the first does not."""
    return replace(config, num_hidden_layers=1, decoder_num_hidden_layers=1)


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
def test_pretraining__is_one_graph(
    shallow: VideoMAEConfig, kind: str, norm_pix_loss: bool, path: str
) -> None:
    """Tracing alone finds a break; the generated code is compared in the slow tests."""
    model = VideoMAEForPreTraining(replace(shallow, decoder_kind=kind, norm_pix_loss=norm_pix_loss))
    arguments = (random_clips(shallow), *token_numbers(shallow.grid))
    compiled = torch.compile(getattr(model, path), fullgraph=True, backend="eager")(*arguments)
    assert_close(compiled, getattr(model, path)(*arguments))
    assert len(gradients(model, compiled)) == len(list(model.parameters()))


def test_classification__is_one_graph(shallow: VideoMAEConfig) -> None:
    model = VideoMAEForVideoClassification(replace(shallow, drop_path_rate=0.1).with_labels(5)).eval()
    clips = random_clips(shallow)
    compiled = torch.compile(model.classify, fullgraph=True, backend="eager")(clips)
    assert_close(compiled, model.classify(clips))
    model.train()
    torch.compile(model.classify, fullgraph=True, backend="eager")(clips).sum().backward()


@pytest.mark.parametrize("kind", ["joint", "cross"])
def test_activation_checkpointing__is_one_graph_too(shallow: VideoMAEConfig, kind: str) -> None:
    model = VideoMAEForPreTraining(replace(shallow, decoder_kind=kind))
    model.set_grad_checkpointing()
    arguments = (random_clips(shallow), *token_numbers(shallow.grid))
    compiled = torch.compile(model.training_loss, fullgraph=True, backend="eager")(*arguments)
    assert_close(compiled, model.training_loss(*arguments))
    assert len(gradients(model, compiled)) == len(list(model.parameters()))


def test_another_target__is_in_the_graph(shallow: VideoMAEConfig) -> None:
    class Brightness:
        num_values = 1

        def __call__(self, patches: Tensor) -> Tensor:
            return patches.mean(-1, keepdim=True)

    model = VideoMAEForPreTraining(shallow, target=Brightness())
    arguments = (random_clips(shallow), *token_numbers(shallow.grid))
    compiled = torch.compile(model.training_loss, fullgraph=True, backend="eager")(*arguments)
    assert_close(compiled, model.training_loss(*arguments))


def test_a_branch_on_values__would_be_found(shallow: VideoMAEConfig) -> None:
    """The check on the checks: the Hugging Face call checks its mask, so it cannot be one graph."""
    model = VideoMAEForPreTraining(shallow)
    mask = torch.zeros(2, 48, dtype=torch.bool).scatter(1, token_numbers(shallow.grid)[1], True)
    with pytest.raises(torch._dynamo.exc.TorchDynamoException):
        torch.compile(model, fullgraph=True, backend="eager")(torch.randn(2, 4, 3, 32, 48), mask)


def test_new_numbers_of_the_same_shape__do_not_compile_again(shallow: VideoMAEConfig) -> None:
    model = VideoMAEForPreTraining(shallow)
    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(model.training_loss, fullgraph=True, backend=counter)
    visible_idx, hidden_idx = token_numbers(shallow.grid)
    for shift in range(3):
        compiled(random_clips(shallow), visible_idx.roll(shift, 0), hidden_idx.roll(shift, 0))
    assert counter.frame_count == 1


def test_module_compile__keeps_the_names_of_the_state(shallow: VideoMAEConfig) -> None:
    model = VideoMAEForVideoClassification(shallow.with_labels(5))
    names = list(model.state_dict())
    model.compile(fullgraph=True, backend="eager")
    model(torch.randn(1, 4, 3, 32, 48))
    assert list(model.state_dict()) == names


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["joint", "cross"])
@pytest.mark.parametrize("norm_pix_loss", [True, False])
def test_generated_code__agrees_with_eager(shallow: VideoMAEConfig, kind: str, norm_pix_loss: bool) -> None:
    model = VideoMAEForPreTraining(replace(shallow, decoder_kind=kind, norm_pix_loss=norm_pix_loss))
    shake(model)
    arguments = (random_clips(shallow), *token_numbers(shallow.grid))
    eager = model.training_loss(*arguments)
    compiled = torch.compile(model.training_loss, fullgraph=True)(*arguments)
    assert_close(compiled, eager)
    for left, right in zip(gradients(model, compiled), gradients(model, eager), strict=True):
        assert_close(left, right)


@pytest.mark.slow
def test_generated_code__of_the_classifier_agrees_with_eager(shallow: VideoMAEConfig) -> None:
    model = VideoMAEForVideoClassification(shallow.with_labels(5)).eval()
    shake(model)
    clips = random_clips(shallow)
    compiled, eager = torch.compile(model.classify, fullgraph=True)(clips), model.classify(clips)
    assert_close(compiled, eager)
    for left, right in zip(gradients(model, compiled.sum()), gradients(model, eager.sum()), strict=True):
        assert_close(left, right)
