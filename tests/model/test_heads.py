"""Heads of probes: what they compute, how they are saved, and who can read them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from small_models import random_clips, shake
from torch import nn

from videomae_train.errors import ConfigError
from videomae_train.model import (
    Fate,
    Layout,
    VideoMAEConfig,
    VideoMAEForPreTraining,
    VideoMAEForVideoClassification,
    VideoMAEModel,
    classifier_from_pretrained,
    config_record,
    convert,
    load_classifier,
    normalise_clips,
    save_weights_folder,
)
from videomae_train.model.heads import BatchStandardise


@pytest.fixture(params=["batch_norm", "attentive"])
def probe(request: pytest.FixtureRequest, config: VideoMAEConfig) -> VideoMAEForVideoClassification:
    """A classifier that has trained a little: nothing in it has its first value."""
    config = replace(config, head_kind=request.param, head_init_scale=1.0).with_labels(5)
    model = VideoMAEForVideoClassification(config)
    shake(model)
    for _ in range(3):
        model(normalise_clips(random_clips(config, batch=6)))
    return model.eval()


def checkpoint_of(model: VideoMAEForVideoClassification, path: Path) -> Path:
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state, "config": config_record(model)}, path)
    return path


def test_batch_norm__normalises_like_torch_in_training() -> None:
    ours, theirs = BatchStandardise(4), nn.BatchNorm1d(4, eps=1e-6, affine=False)
    for number in range(40):
        x = torch.randn(8, 4) * 3 + number
        torch.testing.assert_close(ours(x), theirs(x))
    # The same figures once the first ones are forgotten.
    torch.testing.assert_close(ours.running_mean, theirs.running_mean, rtol=2e-2, atol=0)
    x = torch.randn(2, 4)
    expected = (x - ours.running_mean) / (ours.running_var + 1e-6).sqrt()
    torch.testing.assert_close(ours.eval()(x), expected)


def test_batch_norm__begins_at_the_first_figures_and_averages() -> None:
    norm, passes = BatchStandardise(2), [torch.randn(16, 2) + 5 for _ in range(4)]
    for x in passes:
        norm(x)
    torch.testing.assert_close(norm.running_mean, torch.stack([x.mean(0) for x in passes]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([x.var(0) for x in passes]).mean(0))


def test_batch_norm__a_pass_that_is_not_finite_leaves_no_trace() -> None:
    norm = BatchStandardise(2)
    norm(torch.randn(4, 2))
    before = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    for bad in (float("nan"), float("inf")):
        x = torch.randn(4, 2)
        x[1, 0] = bad
        assert not torch.isfinite(norm(x)).all(), "the loss shows it"
        assert all(torch.equal(tensor, before[name]) for name, tensor in norm.state_dict().items())


def test_batch_norm__is_folded_in_a_folder_that_transformers_reads(
    config: VideoMAEConfig, tmp_path: Path
) -> None:
    config = replace(config, head_kind="batch_norm", head_init_scale=1.0, fc_norm_eps=1e-5).with_labels(5)
    model = VideoMAEForVideoClassification(config)
    shake(model)
    pixels = torch.randn(6, 4, 3, 32, 48)
    for _ in range(3):
        model(pixels)
    model.eval()
    save_weights_folder(model, tmp_path / "w", card="")
    ours = load_classifier(tmp_path / "w")
    theirs = transformers.VideoMAEForVideoClassification.from_pretrained(tmp_path / "w")
    assert ours.config.head_kind == "linear"
    assert not any("standardise" in name for name in ours.state_dict())
    for other in (ours, theirs):
        torch.testing.assert_close(other(pixels).logits, model(pixels).logits, rtol=1e-4, atol=1e-5)
    assert model.config.head_kind == "batch_norm", "saving leaves the model that trains as it is"


def test_batch_norm__learns_a_linear_map_alone(config: VideoMAEConfig) -> None:
    model = VideoMAEForVideoClassification(replace(config, head_kind="batch_norm").with_labels(5))
    model.encoder.freeze(3)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained == ["head.weight", "head.bias"]


def test_attentive__is_a_block_of_its_own_sizes(config: VideoMAEConfig) -> None:
    model = VideoMAEForVideoClassification(replace(config, head_kind="attentive").with_labels(5))
    width, inner = config.hidden_size, config.intermediate_size
    attention = 4 * width * width + 3 * width  # q, k, v and proj; k has no bias
    norms, mlp = 3 * 2 * width, 2 * width * inner + width + inner
    assert model.pool is not None
    assert sum(weight.numel() for weight in model.pool.parameters()) == attention + norms + mlp + width


def test_attentive__looks_at_all_tokens_in_any_order(config: VideoMAEConfig) -> None:
    model = VideoMAEForVideoClassification(
        replace(config, head_kind="attentive", head_init_scale=1.0).with_labels(5)
    )
    shake(model)
    tokens = torch.randn(2, 48, 48)
    logits = model.forward_head(tokens)
    torch.testing.assert_close(model.forward_head(tokens.flip(1)), logits, rtol=1e-4, atol=1e-5)
    for changed in (0, 47):
        other = tokens.clone()
        other[:, changed] = 3 * torch.randn(48)
        assert (model.forward_head(other) - logits).abs().max() > 1e-3


def test_attentive__is_ours_alone(config: VideoMAEConfig, tmp_path: Path) -> None:
    model = VideoMAEForVideoClassification(replace(config, head_kind="attentive").with_labels(5)).eval()
    shake(model)
    save_weights_folder(model, tmp_path / "w", card="")
    pixels = torch.randn(1, 4, 3, 32, 48)
    assert torch.equal(load_classifier(tmp_path / "w")(pixels).logits, model(pixels).logits)
    with pytest.raises(ValueError, match="videomae_train"):
        transformers.AutoModelForVideoClassification.from_pretrained(tmp_path / "w")
    for layout in (Layout.HF, Layout.OFFICIAL, Layout.TIMM):
        with pytest.raises(ConfigError, match="an attentive head"):
            convert(tmp_path / "w", tmp_path / "out", to=layout)
    convert(tmp_path / "w", tmp_path / "encoder", to=Layout.HF, encoder_only=True)
    assert VideoMAEModel.from_pretrained(tmp_path / "encoder").config.hidden_size == 48


def test_checkpoint__of_a_probe_is_a_source(probe: VideoMAEForVideoClassification, tmp_path: Path) -> None:
    again = load_classifier(checkpoint_of(probe, tmp_path / "step-00000003.ckpt"))
    assert again.config == probe.config
    pixels = torch.randn(2, 4, 3, 32, 48)
    assert torch.equal(again(pixels).logits, probe(pixels).logits)


def test_checkpoint__with_batch_norm_converts_to_every_layout(config: VideoMAEConfig, tmp_path: Path) -> None:
    model = VideoMAEForVideoClassification(replace(config, head_kind="batch_norm").with_labels(5))
    shake(model)
    model(torch.randn(6, 4, 3, 32, 48))
    checkpoint = checkpoint_of(model.eval(), tmp_path / "step-00000003.ckpt")
    pixels = torch.randn(2, 4, 3, 32, 48)
    for layout, name in ((Layout.HF, "folder"), (Layout.OFFICIAL, "file.pth")):
        convert(checkpoint, tmp_path / name, to=layout)
        logits = load_classifier(tmp_path / name)(pixels).logits
        torch.testing.assert_close(logits, model(pixels).logits, rtol=1e-4, atol=1e-5)


def test_head__starts_afresh_where_the_source_has_another(
    probe: VideoMAEForVideoClassification, tmp_path: Path
) -> None:
    save_weights_folder(probe.folded(), tmp_path / "w", card="")
    source = load_classifier(tmp_path / "w").config
    for kind in ("linear", "batch_norm", "attentive"):
        model, report = classifier_from_pretrained(tmp_path / "w", replace(source, head_kind=kind))
        fresh = set(report.names(Fate.FRESH))
        if kind == source.head_kind:
            assert not fresh, "norm, head and all come along for the same classes"
            continue
        assert {"head.weight", "fc_norm.weight"} <= fresh
        assert torch.equal(model.fc_norm.weight, torch.ones(48))  # type: ignore[arg-type]
        assert all(name.startswith("encoder.") for name in report.names(Fate.PLACED))


def test_head__of_every_kind_goes_on_a_pretrained_encoder(config: VideoMAEConfig, tmp_path: Path) -> None:
    save_weights_folder(VideoMAEForPreTraining(config), tmp_path / "w", card="")
    for kind in ("batch_norm", "attentive"):
        wanted = replace(config, head_kind=kind).with_labels(5)
        _, report = classifier_from_pretrained(tmp_path / "w", wanted)
        assert {name.split(".")[0] for name in report.names(Fate.FRESH)} == {
            "fc_norm", "head", "standardise" if kind == "batch_norm" else "pool",
        }  # fmt: skip


def test_kind__wants_pooling_over_all_tokens(config: VideoMAEConfig) -> None:
    with pytest.raises(ConfigError, match=r"model\.head_kind: 'attentive' with use_mean_pooling=False"):
        replace(config, head_kind="attentive", use_mean_pooling=False)
    with pytest.raises(ConfigError, match=r"model\.head_kind: 'other'"):
        replace(config, head_kind="other")  # type: ignore[arg-type]
