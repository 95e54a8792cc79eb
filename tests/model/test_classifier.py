from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_models import random_clips, shake
from timm.models import group_parameters
from timm.optim import param_groups_layer_decay

from videomae_train.errors import ConfigError
from videomae_train.model import VideoMAEConfig, VideoMAEForVideoClassification, normalise_clips


@pytest.fixture
def model(config: VideoMAEConfig) -> VideoMAEForVideoClassification:
    made = VideoMAEForVideoClassification(config.with_labels(5)).eval()
    shake(made)
    return made


def test_bytes_and_floats__give_the_same_logits(model: VideoMAEForVideoClassification) -> None:
    clips = random_clips(model.config)
    assert (model.classify(clips) - model(normalise_clips(clips)).logits).abs().max() < 1e-5
    with pytest.raises(ConfigError, match="uint8"):
        model.classify(clips.float())


def test_pooling__is_the_mean_over_tokens_then_norm(model: VideoMAEForVideoClassification) -> None:
    pixels = torch.randn(2, 4, 3, 32, 48)
    tokens = model.forward_features(pixels)
    assert tokens.shape == (2, 48, 48)
    features = model.forward_head(tokens, pre_logits=True)
    assert torch.equal(features, model.fc_norm(tokens.mean(1)))
    assert torch.equal(model(pixels).logits, model.head(features))


def test_loss__follows_the_labels(config: VideoMAEConfig, model: VideoMAEForVideoClassification) -> None:
    pixels, nn = torch.randn(2, 4, 3, 32, 48), torch.nn.functional
    logits = model(pixels).logits
    classes, soft = torch.tensor([1, 4]), torch.rand(2, 5)
    assert torch.equal(model(pixels, labels=classes).loss, nn.cross_entropy(logits, classes))
    expected = nn.binary_cross_entropy_with_logits(logits, soft)
    assert torch.equal(model(pixels, labels=soft).loss, expected)
    one = VideoMAEForVideoClassification(config.with_labels(1)).eval()
    truth = torch.tensor([0.5, 2.0])
    assert torch.equal(one(pixels, labels=truth).loss, nn.mse_loss(one(pixels).logits[:, 0], truth))


def test_initialisation__is_the_published_one() -> None:
    config = VideoMAEConfig(hidden_size=192, num_attention_heads=3, num_hidden_layers=1, num_labels=400)
    model = VideoMAEForVideoClassification(config)
    assert abs(model.encoder.blocks[0].attn.qkv.weight.std() - 0.02) < 5e-4
    assert abs(model.head.weight.std() - 2e-5) < 5e-7
    assert not model.head.bias.any()
    assert model.encoder.patch_embed.proj.weight.abs().max() <= 1536**-0.5


def test_drop_path__grows_linearly_and_is_off_in_evaluation(config: VideoMAEConfig) -> None:
    model = VideoMAEForVideoClassification(replace(config, drop_path_rate=0.4).with_labels(5))
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for block in model.encoder.blocks]
    assert rates == pytest.approx([0.0, 0.2, 0.4])
    clips = random_clips(config, batch=8)
    assert not torch.equal(model.classify(clips), model.classify(clips))
    model.eval()
    assert torch.equal(model.classify(clips), model.classify(clips))


def test_head_dropout__acts_in_training_only(config: VideoMAEConfig) -> None:
    model = VideoMAEForVideoClassification(replace(config, head_dropout=0.5).with_labels(5))
    clips = random_clips(config)
    assert not torch.equal(model.classify(clips), model.classify(clips))


def test_layer_decay__through_timm_has_the_published_scales(config: VideoMAEConfig) -> None:
    model = VideoMAEForVideoClassification(replace(config, num_hidden_layers=12).with_labels(5))
    groups = param_groups_layer_decay(model, weight_decay=0.05, layer_decay=0.75)
    scale_of = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    expected = {
        "encoder.patch_embed.proj.weight": 0.75**13,
        "encoder.blocks.0.attn.qkv.weight": 0.75**12,
        "encoder.blocks.11.mlp.fc2.bias": 0.75,
        "fc_norm.weight": 1.0,
        "head.weight": 1.0,
    }
    named = dict(model.named_parameters())
    assert {name: scale_of[id(named[name])] for name in expected} == pytest.approx(expected)
    assert expected["encoder.patch_embed.proj.weight"] == pytest.approx(0.023757, abs=1e-6)
    assert group_parameters(model, model.group_matcher(coarse=True))


def test_reset_classifier__makes_a_fresh_head_or_none(model: VideoMAEForVideoClassification) -> None:
    clips = random_clips(model.config)
    model.reset_classifier(7)
    assert model.classify(clips).shape == (2, 7)
    assert (model.num_classes, model.config.num_labels) == (7, 7)
    assert model.get_classifier() is model.head
    model.reset_classifier(0)
    assert model.classify(clips).shape == (2, model.num_features)
    with pytest.raises(ConfigError, match="global_pool"):
        model.reset_classifier(7, global_pool="token")


def test_activation_checkpointing__gives_the_same_gradients(model: VideoMAEForVideoClassification) -> None:
    clips, gradients = random_clips(model.config), []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        model.classify(clips).sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.equal(left, right) for left, right in zip(*gradients, strict=True))


def test_four_channels__work_with_their_own_statistics(config: VideoMAEConfig) -> None:
    deep = replace(
        config, num_channels=4, image_mean=(0.5, 0.5, 0.5, 0.0), image_std=(0.2, 0.2, 0.2, 1.0)
    ).with_labels(2)
    assert VideoMAEForVideoClassification(deep).classify(random_clips(deep)).shape == (2, 2)
