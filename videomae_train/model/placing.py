"""Which tensors of a source a model wants, which it leaves, and which it starts fresh."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace

from torch import nn

from videomae_train.errors import CheckpointError, ConfigError
from videomae_train.model.audit import Fate, TensorNote, WeightsReport, place_weights
from videomae_train.model.config import VideoMAEConfig, on_trained_grid
from videomae_train.model.config_json import CLASSIFICATION, PRETRAINING
from videomae_train.model.sources import WeightsSource

_log = logging.getLogger(__name__)

_OF_PRETRAINING = {
    "encoder_to_decoder.": "belongs to pretraining",
    "mask_token": "belongs to pretraining",
    "decoder.": "belongs to pretraining",
}
_PARTS_OF_HEAD: tuple[str, ...] = ("fc_norm.", "standardise.", "pool.", "head.")
_OF_CLASSIFIER: dict[str, str] = dict.fromkeys(_PARTS_OF_HEAD, "belongs to the classifier")
# Fields that decide what the encoder's weights compute, beyond the shapes that the audit compares.
_ENCODER_FIELDS = (
    "patch_size",
    "num_channels",
    "tubelet_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "qkv_bias",
    "image_mean",
    "image_std",
)
_DECODER_FIELDS = (
    "decoder_kind",
    "decoder_hidden_size",
    "decoder_num_hidden_layers",
    "decoder_num_attention_heads",
    "decoder_intermediate_size",
    "encoder_norm",
)


def warn_of_suspicions(report: WeightsReport) -> None:
    """Log what is allowed, but probably not meant, for callers that show nobody the report."""
    for finding in report.suspicious:
        _log.warning("%s: %s", report.source, finding)


def place_exactly(
    model: nn.Module, source: WeightsSource, architecture: str, allow: Collection[str] = ()
) -> WeightsReport:
    """Fill a model of the source's own class, every tensor placed.

    Raises:
        CheckpointError: The source is of another class, or a tensor is missing, extra or of another shape.
    """
    _check_class(source, architecture)
    return _placed(model, source, {}, {}, allow)


def _check_class(source: WeightsSource, architecture: str) -> None:
    if source.architecture != architecture:
        raise CheckpointError(
            where=source.name,
            came=f"a {source.architecture}",
            expected=f"a {architecture}",
            todo="Give other weights"
            + (
                ", or fine-tune these first (in Python: classifier_from_pretrained)"
                if architecture == CLASSIFICATION
                else ""
            )
            + ".",
        )


def encoder_config(source: WeightsSource) -> VideoMAEConfig:
    """Give the configuration of a source's bare encoder, final norm included where the source has one."""
    return replace(source.config, encoder_norm="encoder.norm.weight" in source.state)


def place_encoder(model: nn.Module, source: WeightsSource, allow: Collection[str] = ()) -> WeightsReport:
    """Fill a bare encoder from a model of any class.

    Raises:
        CheckpointError: A tensor is missing, extra or of another shape.
    """
    unwanted: dict[str, dict[str, str]] = {PRETRAINING: _OF_PRETRAINING, CLASSIFICATION: _OF_CLASSIFIER}
    drop = unwanted.get(source.architecture, {})
    return _placed(model, source, drop, {}, allow)


def classifier_config(source: WeightsSource, config: VideoMAEConfig) -> VideoMAEConfig:
    """Give the wanted classifier's configuration, with the grid that the source's positions were trained on.

    Raises:
        ConfigError: The configuration describes another encoder than the source's.
    """
    return _agreeing(source, config, "the encoder", _ENCODER_FIELDS)


def pretraining_config(source: WeightsSource, config: VideoMAEConfig) -> VideoMAEConfig:
    """Give the wanted pretraining model's configuration, with the grid of the source's positions.

    Raises:
        CheckpointError: The source is of another class.
        ConfigError: The configuration describes another encoder or decoder than the source's.
    """
    _check_class(source, PRETRAINING)
    return _agreeing(source, config, "the encoder and decoder", _ENCODER_FIELDS + _DECODER_FIELDS)


def _agreeing(
    source: WeightsSource, config: VideoMAEConfig, part: str, fields: tuple[str, ...]
) -> VideoMAEConfig:
    ours, theirs = vars(config), vars(source.config)
    differing = [
        f"{name} {ours[name]} (theirs {theirs[name]})" for name in fields if ours[name] != theirs[name]
    ]
    if differing:
        raise ConfigError(
            where="model",
            came="; ".join(differing),
            expected=f"{part} that {source.name} holds",
            todo="Take these values from its config.json.",
        )
    return on_trained_grid(config, source.config)


def place_classifier(
    model: nn.Module, source: WeightsSource, config: VideoMAEConfig, allow: Collection[str] = ()
) -> WeightsReport:
    """Fill a classifier from a model of any class, with a fresh head unless it is for the same classes.

    Args:
        model: The classifier of this configuration.
        source: Weights of a pretraining model, a bare encoder or a classifier.
        config: The classifier's configuration.
        allow: Names of tensors that may be missing, extra or of another shape.

    Raises:
        CheckpointError: A tensor is missing, extra or of another shape.
    """
    drop, fresh = dict(_OF_PRETRAINING), dict[str, str]()
    if config.use_mean_pooling:
        drop["encoder.norm."] = "mean pooling has its own norm, as published"
    elif "fc_norm.weight" in source.state:
        drop["fc_norm."] = "belongs to mean pooling"
        fresh["encoder.norm."] = "starts at weight 1 and bias 0"
    if "fc_norm.weight" in source.state and source.config.head_kind != config.head_kind:
        drop |= dict.fromkeys(_PARTS_OF_HEAD, f"made for a head of the kind {source.config.head_kind}")
        fresh |= dict.fromkeys(_PARTS_OF_HEAD, f"for a head of the kind {config.head_kind}")
    elif "head.weight" not in source.state:
        fresh["head."] = "for new classes"
    elif source.config.id2label != config.id2label:
        drop["head."] = f"made for {source.config.num_labels} other classes"
        fresh["head."] = "for new classes"
    if "fc_norm.weight" not in source.state:
        fresh["fc_norm."] = "starts at weight 1 and bias 0, as published"
        fresh |= {"standardise.": "measured in training", "pool.": "for new classes"}
    return _placed(model, source, drop, fresh, allow)


def _placed(
    model: nn.Module,
    source: WeightsSource,
    drop: dict[str, str],
    fresh: dict[str, str],
    allow: Collection[str],
) -> WeightsReport:
    report = place_weights(model, source.state, source=source.name, drop=drop, fresh=fresh, allow=allow)
    set_aside = tuple(TensorNote(name, (), Fate.DROPPED, why) for name, why in source.dropped.items())
    return replace(report, notes=report.notes + set_aside)
