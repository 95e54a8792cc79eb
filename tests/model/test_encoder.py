"""A frozen prefix: no gradient, no randomness, nothing kept for the backward pass."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_models import random_clips

from videomae_train.errors import ConfigError
from videomae_train.model import VideoMAEConfig, VideoMAEForVideoClassification, normalise_clips


@pytest.fixture
def model(config: VideoMAEConfig) -> VideoMAEForVideoClassification:
    """Everything random is on: drop path and both dropouts."""
    lively = replace(
        config,
        drop_path_rate=0.5,
        hidden_dropout_prob=0.3,
        attention_probs_dropout_prob=0.3,
        head_init_scale=1.0,
    )
    return VideoMAEForVideoClassification(lively.with_labels(5)).train()


FROZEN = {0: (), 2: ("patch_embed.", "blocks.0.", "blocks.1."), 3: ("patch_embed.", "blocks.")}


@pytest.mark.parametrize("num_blocks", FROZEN)
def test_gradients__are_those_of_the_rest_alone(
    model: VideoMAEForVideoClassification, num_blocks: int
) -> None:
    model.encoder.freeze(num_blocks)
    loss = model(normalise_clips(random_clips(model.config, 4)), torch.arange(4)).loss
    loss.backward()
    without = {name for name, parameter in model.encoder.named_parameters() if parameter.grad is None}
    prefix = FROZEN[num_blocks]
    assert without == {n for n, _ in model.encoder.named_parameters() if prefix and n.startswith(prefix)}


def test_frozen_parts__draw_nothing_in_training(model: VideoMAEForVideoClassification) -> None:
    patches = model.encoder.patch_embed.cut(normalise_clips(random_clips(model.config, 4)))
    model.encoder.freeze(2)
    model.eval()
    expected = model.encoder.hidden_states(patches)[2]
    model.train()
    assert not model.encoder.blocks[1].training
    assert model.encoder.blocks[2].training
    assert torch.equal(model.encoder.hidden_states(patches)[2], expected)
    assert not torch.equal(model.encoder(patches), model.encoder(patches)), "the others still do"


@pytest.mark.parametrize("checkpointing", [False, True])
def test_frozen_parts__keep_nothing_for_the_backward_pass(
    model: VideoMAEForVideoClassification, checkpointing: bool
) -> None:
    model.set_grad_checkpointing(checkpointing)
    patches = model.encoder.patch_embed.cut(normalise_clips(random_clips(model.config, 4)))
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    model.encoder.freeze(3)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        assert not model.encoder(patches).requires_grad
    assert not kept
    model.encoder.freeze(2)
    assert [state.requires_grad for state in model.encoder.hidden_states(patches)] == [False] * 3 + [True]


def test_all_blocks__take_the_final_norm_along(config: VideoMAEConfig) -> None:
    model = VideoMAEForVideoClassification(replace(config, use_mean_pooling=False).with_labels(5))
    model.encoder.freeze(2)
    assert model.encoder.norm.weight.requires_grad
    model.encoder.freeze(3)
    assert not any(parameter.requires_grad for parameter in model.encoder.parameters())
    model.encoder.freeze(0)
    assert all(parameter.requires_grad for parameter in model.encoder.parameters())


@pytest.mark.parametrize("num_blocks", [-1, 4])
def test_more_blocks_than_there_are__are_refused(
    model: VideoMAEForVideoClassification, num_blocks: int
) -> None:
    with pytest.raises(ConfigError, match="0 to 3, the encoder's blocks"):
        model.encoder.freeze(num_blocks)
