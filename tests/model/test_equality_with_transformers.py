"""The same weights compute the same logits, loss and gradients here and in transformers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
import yaml
from small_models import CONFIGS, bool_mask, random_clips, shake, token_numbers
from torch import Tensor

from videomae_train.model import (
    VideoMAEConfig,
    VideoMAEForPreTraining,
    VideoMAEForVideoClassification,
    load_classifier,
    load_pretraining_model,
    normalise_clips,
    save_weights_folder,
)
from videomae_train.model.pretraining import pixel_target

# transformers hard-wires 1e-5 at two norms; with these epsilons both compute one function.
THEIR_EPS = {"layer_norm_eps": 1e-12, "decoder_norm_eps": 1e-5, "fc_norm_eps": 1e-5}
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}

THEIR_NAMES = {"VideoMAEForPreTraining", "VideoMAEForVideoClassification"}


def pair(model: VideoMAEForPreTraining | VideoMAEForVideoClassification, folder: Path, dtype: torch.dtype):
    """Our model and transformers' one, from the same folder."""
    save_weights_folder(model, folder, card="")
    theirs, info = getattr(transformers, type(model).__name__).from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(info.values()), info
    return model.to(dtype), theirs.to(dtype)


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    """Differ by at most the tolerance, relative to the largest value."""
    difference = (ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-30)
    assert difference <= TOLERANCE[ours.dtype], difference


def gradients_by_their_names(model: torch.nn.Module) -> dict[str, Tensor]:
    from videomae_train.model.layouts import to_hugging_face

    named = to_hugging_face({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    return {
        name.replace("q_bias", "query.bias").replace("v_bias", "value.bias"): grad
        for name, grad in named.items()
    }


def assert_same_gradients(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
    mine = gradients_by_their_names(ours)
    yours = {name: p.grad for name, p in theirs.named_parameters()}
    assert mine.keys() == yours.keys()
    scale = max(grad.abs().max() for grad in yours.values())
    for name, grad in yours.items():
        difference = (mine[name] - grad).abs().max() / grad.abs().max().clamp_min(scale * 1e-3)
        assert difference <= TOLERANCE[grad.dtype], (name, difference)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("norm_pix_loss", [True, False])
def test_pretraining__logits_loss_and_gradients(
    config: VideoMAEConfig, tmp_path: Path, norm_pix_loss: bool, dtype: torch.dtype
) -> None:
    ours = VideoMAEForPreTraining(replace(config, norm_pix_loss=norm_pix_loss, **THEIR_EPS))
    shake(ours)
    ours, theirs = pair(ours, tmp_path / "weights", dtype)
    pixels = torch.randn(2, *ours.encoder.patch_embed.clip_shape, dtype=dtype)
    mask = bool_mask(token_numbers(config.grid)[1], config.grid.num_tokens)
    mine, yours = ours(pixels, mask), theirs(pixels, bool_masked_pos=mask)
    assert_close(mine.logits, yours.logits)
    assert_close(mine.loss, yours.loss)
    mine.loss.backward()
    yours.loss.backward()
    assert_same_gradients(ours, theirs)


def test_training_path__equals_transformers_on_bytes(config: VideoMAEConfig, tmp_path: Path) -> None:
    ours = VideoMAEForPreTraining(replace(config, **THEIR_EPS))
    shake(ours)
    ours, theirs = pair(ours, tmp_path / "weights", torch.float32)
    clips, (visible_idx, hidden_idx) = random_clips(config), token_numbers(config.grid)
    loss = ours.training_loss(clips, visible_idx, hidden_idx)
    pixels = normalise_clips(clips).contiguous()
    truth = theirs(pixels, bool_masked_pos=bool_mask(hidden_idx, config.grid.num_tokens))
    assert_close(loss, truth.loss)
    assert_close(ours.predict_hidden(clips, visible_idx, hidden_idx), truth.logits)
    loss.backward()
    truth.loss.backward()
    assert_same_gradients(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("use_mean_pooling", [True, False])
def test_classifier__logits_loss_and_gradients(
    config: VideoMAEConfig, tmp_path: Path, use_mean_pooling: bool, dtype: torch.dtype
) -> None:
    made = replace(config, use_mean_pooling=use_mean_pooling, **THEIR_EPS).with_labels(5)
    ours = VideoMAEForVideoClassification(made)
    shake(ours)
    ours, theirs = pair(ours, tmp_path / "weights", dtype)
    theirs.eval()
    pixels = torch.randn(2, *ours.encoder.patch_embed.clip_shape, dtype=dtype)
    labels = torch.tensor([1, 4])
    mine, yours = ours(pixels, labels=labels), theirs(pixels, labels=labels)
    assert_close(mine.logits, yours.logits)
    assert_close(mine.loss, yours.loss)
    mine.loss.backward()
    yours.loss.backward()
    assert_same_gradients(ours, theirs)


def test_hidden_states__are_transformers(config: VideoMAEConfig, tmp_path: Path) -> None:
    ours = VideoMAEForVideoClassification(replace(config, **THEIR_EPS).with_labels(5))
    shake(ours)
    ours, theirs = pair(ours, tmp_path / "weights", torch.float64)
    pixels = torch.randn(1, *ours.encoder.patch_embed.clip_shape, dtype=torch.float64)
    mine = ours(pixels, output_hidden_states=True).hidden_states
    yours = theirs(pixels, output_hidden_states=True).hidden_states
    assert len(mine) == len(yours) == config.num_hidden_layers + 1
    for left, right in zip(mine, yours, strict=True):
        assert_close(left, right)


def test_published_epsilons__differ_from_transformers_and_are_kept(
    config: VideoMAEConfig, tmp_path: Path
) -> None:
    ours = VideoMAEForPreTraining(replace(config, layer_norm_eps=1e-6, decoder_norm_eps=3e-3))
    save_weights_folder(ours, tmp_path / "weights", card="")
    assert load_pretraining_model(tmp_path / "weights").config == ours.config


@pytest.mark.parametrize("pooled", [True, False])
def test_their_pretraining_folder__computes_the_same_here(
    config: VideoMAEConfig, tmp_path: Path, pooled: bool
) -> None:
    theirs = transformers.VideoMAEForPreTraining(their_config(config, use_mean_pooling=pooled))
    shake(theirs)
    theirs.save_pretrained(tmp_path)
    ours = load_pretraining_model(tmp_path)
    pixels = torch.randn(2, *ours.encoder.patch_embed.clip_shape)
    mask = bool_mask(token_numbers(config.grid)[1], config.grid.num_tokens)
    assert_close(ours(pixels, mask).logits, theirs(pixels, bool_masked_pos=mask).logits)


@pytest.mark.parametrize("pooled", [True, False])
def test_their_classifier_folder__computes_the_same_here(
    config: VideoMAEConfig, tmp_path: Path, pooled: bool
) -> None:
    theirs = transformers.VideoMAEForVideoClassification(their_config(config, use_mean_pooling=pooled))
    shake(theirs)
    theirs.save_pretrained(tmp_path)
    ours = load_classifier(tmp_path)
    assert ours.config.id2label == theirs.config.id2label == {0: "LABEL_0", 1: "LABEL_1"}
    pixels = torch.randn(2, *ours.encoder.patch_embed.clip_shape)
    assert_close(ours(pixels).logits, theirs.eval()(pixels).logits)


# Base in double precision alone would take minutes.
SIZES = [("tiny", torch.float32), ("tiny", torch.float64), ("small", torch.float64), ("base", torch.float32)]


@pytest.mark.slow
@pytest.mark.parametrize(("size", "dtype"), SIZES)
def test_shipped_sizes__logits_loss_and_gradients(size: str, dtype: torch.dtype, tmp_path: Path) -> None:
    values = yaml.safe_load((CONFIGS / f"{size}.yaml").read_text())
    ours = VideoMAEForPreTraining(VideoMAEConfig(**values, **THEIR_EPS))
    shake(ours, deviation=0.01)
    ours, theirs = pair(ours, tmp_path / "weights", dtype)
    pixels = torch.randn(1, *ours.encoder.patch_embed.clip_shape, dtype=dtype)
    grid = ours.config.grid
    mask = bool_mask(token_numbers(grid, batch=1, ratio=0.9)[1], grid.num_tokens)
    for norm_pix_loss in (True, False):
        ours.target = pixel_target(replace(ours.config, norm_pix_loss=norm_pix_loss))
        theirs.config.norm_pix_loss = norm_pix_loss
        for model in (ours, theirs):
            model.zero_grad()
        mine, yours = ours(pixels, mask), theirs(pixels, bool_masked_pos=mask)
        assert_close(mine.logits, yours.logits)
        assert_close(mine.loss, yours.loss)
        mine.loss.backward()
        yours.loss.backward()
        assert_same_gradients(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "dtype"), SIZES)
def test_shipped_sizes__of_the_classifier(size: str, dtype: torch.dtype, tmp_path: Path) -> None:
    values = yaml.safe_load((CONFIGS / f"{size}.yaml").read_text())
    # A quarter of the frames: all tokens are encoded, and time grows with their square.
    values |= {"num_frames": values["num_frames"] // 4}
    ours = VideoMAEForVideoClassification(VideoMAEConfig(**values, **THEIR_EPS).with_labels(7))
    shake(ours, deviation=0.01)
    ours, theirs = pair(ours, tmp_path / "weights", dtype)
    theirs.eval()
    pixels = torch.randn(1, *ours.encoder.patch_embed.clip_shape, dtype=dtype)
    labels = torch.tensor([3])
    mine, yours = ours(pixels, labels=labels), theirs(pixels, labels=labels)
    assert_close(mine.logits, yours.logits)
    assert_close(mine.loss, yours.loss)
    mine.loss.backward()
    yours.loss.backward()
    assert_same_gradients(ours, theirs)


def their_config(config: VideoMAEConfig, *, use_mean_pooling: bool) -> transformers.VideoMAEConfig:
    """transformers' own configuration of the same size, its epsilons included."""
    same = vars(transformers.VideoMAEConfig()).keys() & vars(config).keys()
    same -= {"id2label", "layer_norm_eps", "use_mean_pooling"}
    return transformers.VideoMAEConfig(
        **{name: vars(config)[name] for name in same}, use_mean_pooling=use_mean_pooling
    )
