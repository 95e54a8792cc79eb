from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from videomae_train.errors import CheckpointError, ConfigError
from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification
from videomae_train.model.config_json import (
    CLASSIFICATION,
    ENCODER,
    PRETRAINING,
    config_from_json,
    config_to_json,
)
from videomae_train.types import PatchGrid

CONFIGS = Path(__file__).parents[2] / "configs" / "model"
# Encoder, pretraining and classifier with 400 classes, as published; None where nothing was.
PUBLISHED = {
    "tiny": (1_852_992, 2_132_448, None),
    "small": (21_879_936, 24_029_376, 22_033_936),
    "base": (86_227_200, 94_210_944, 86_534_800),
    "large": (303_860_736, 342_996_992, 304_270_736),
    "large_v2": (303_860_736, 317_782_016, 304_270_736),
    "huge": (631_607_040, 692_487_296, 632_119_440),
    "huge_v2": (631_607_040, 645_659_392, 632_119_440),
    "giant": (1_011_610_752, 1_026_306_560, 1_012_174_352),
}


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_every_shipped_size__is_counted_here() -> None:
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == set(PUBLISHED)


@pytest.mark.parametrize("size", PUBLISHED)
def test_sizes__have_the_published_parameter_counts(size: str) -> None:
    text = (CONFIGS / f"{size}.yaml").read_text()
    config = VideoMAEConfig(**yaml.safe_load(text))
    encoder, pretraining, classifier = PUBLISHED[size]
    with torch.device("meta"):
        model = VideoMAEForPreTraining(config)
        assert (count(model.encoder), count(model)) == (encoder, pretraining)
        if classifier is not None:
            assert count(VideoMAEForVideoClassification(config.with_labels(400))) == classifier
    assert f"{encoder:,}" in text.splitlines()[0]
    assert f"{pretraining:,}" in text.splitlines()[0]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"image_size": 30}, "image_size"),
        ({"image_size": (32, 44)}, "image_size"),
        ({"num_frames": 5}, "num_frames"),
        ({"num_attention_heads": 5}, "hidden_size"),
        ({"decoder_num_attention_heads": 5}, "decoder_hidden_size"),
        ({"num_channels": 1}, "image_mean"),
        ({"image_std": (1.0, 0.0, 1.0)}, "image_std"),
        ({"drop_path_rate": 1.0}, "drop_path_rate"),
        ({"hidden_dropout_prob": -0.1}, "hidden_dropout_prob"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"layer_norm_eps": 0.0}, "layer_norm_eps"),
        ({"hidden_act": "swish"}, "hidden_act"),
        ({"decoder_kind": "none"}, "decoder_kind"),
        ({"num_labels": -1}, "num_labels"),
        ({"num_labels": 3, "id2label": {0: "a", 1: "b"}}, "num_labels"),
        ({"id2label": {0: "a", 2: "b"}}, "id2label"),
        ({"id2label": {0: "a", 1: "a"}}, "id2label"),
        ({"position_grid": (2, 4)}, "position_grid"),
        ({"position_grid": (2, 0, 4)}, "position_grid"),
    ],
)
def test_wrong_values__are_refused_by_name(config: VideoMAEConfig, wrong: dict, named: str) -> None:
    with pytest.raises(ConfigError, match=rf"model\.{named}"):
        replace(config, **wrong)


def test_grid_and_patch_values(config: VideoMAEConfig) -> None:
    assert config.grid == config.trained_grid == PatchGrid(2, 4, 6)
    assert config.patch_values == 3 * 2 * 8 * 8
    assert VideoMAEConfig().grid.num_tokens == 1568


def test_labels__have_names_both_ways() -> None:
    config = VideoMAEConfig(num_labels=2)
    assert config.id2label == {0: "LABEL_0", 1: "LABEL_1"}
    named = config.with_labels({1: "run", 0: "jump"})
    assert (named.num_labels, named.id2label, named.label2id) == (
        2,
        {0: "jump", 1: "run"},
        {"jump": 0, "run": 1},
    )


@pytest.mark.parametrize("architecture", [PRETRAINING, CLASSIFICATION, ENCODER])
def test_json__gives_the_same_configuration_back(config: VideoMAEConfig, architecture: str) -> None:
    changed = replace(
        config,
        layer_norm_eps=2e-6,
        decoder_norm_eps=3e-6,
        fc_norm_eps=4e-6,
        position_grid=(8, 14, 14),
        drop_path_rate=0.1,
        image_mean=(0.1, 0.2, 0.3),
        decoder_kind="cross",
        qkv_bias=False,
    ).with_labels(3)
    written = json.loads(json.dumps(config_to_json(changed, architecture)))
    assert config_from_json(written, where="test") == changed


def test_json__from_the_hub_fills_in_what_transformers_leaves_out() -> None:
    read = config_from_json({"model_type": "videomae", "architectures": [PRETRAINING]}, where="test")
    assert (read.layer_norm_eps, read.decoder_norm_eps, read.fc_norm_eps) == (1e-12, 1e-5, 1e-5)
    assert not read.encoder_norm
    published = {"model_type": "videomae", "architectures": [PRETRAINING], "use_mean_pooling": False}
    assert config_from_json(published, where="test").encoder_norm
    classifier = {"model_type": "videomae", "architectures": [CLASSIFICATION], "qkv_bias": False}
    assert config_from_json(classifier, where="test").num_labels == 2
    assert not config_from_json(classifier, where="test").qkv_bias
    assert not config_from_json({"model_type": "videomae", "qv_bias": False}, where="test").qkv_bias


def test_json__with_a_pair_of_equal_sides_is_square() -> None:
    values = {"model_type": "videomae", "image_size": [112, 112], "patch_size": [16, 16]}
    read = config_from_json(values, where="test")
    assert (read.image_size, read.patch_size) == (112, 16)
    assert config_from_json({**values, "image_size": [112, 224]}, where="test").image_size == (112, 224)


@pytest.mark.parametrize(
    "wrong",
    [
        {"model_type": "vit"},
        {"hidden_size": "768"},
        {"qkv_bias": 1},
        {"image_size": "a"},
        {"image_size": ["a", "a"]},
    ],
)
def test_json__with_a_wrong_value_is_refused(wrong: dict) -> None:
    with pytest.raises(CheckpointError, match=next(iter(wrong))):
        config_from_json({"model_type": "videomae", **wrong}, where="test")
