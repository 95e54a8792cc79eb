"""Weights folders of our two models, in and out, and starting one from the other."""

from __future__ import annotations

from pathlib import Path

from videomae_train.model.audit import WeightsReport
from videomae_train.model.classifier import VideoMAEForVideoClassification
from videomae_train.model.config import VideoMAEConfig
from videomae_train.model.config_json import CLASSIFICATION, PRETRAINING, config_to_json
from videomae_train.model.encoder_model import VideoMAEModel
from videomae_train.model.placing import (
    classifier_config,
    encoder_config,
    place_classifier,
    place_encoder,
    place_exactly,
    pretraining_config,
    warn_of_suspicions,
)
from videomae_train.model.pretraining import VideoMAEForPreTraining
from videomae_train.model.saving import write_weights_folder
from videomae_train.model.sources import open_source

Model = VideoMAEForPreTraining | VideoMAEForVideoClassification


def config_record(model: Model) -> dict[str, object]:
    """Give the contents of `config.json` for a model, for files that hold its tensors and nothing to read
    them by."""
    return config_to_json(model.config, _architecture(model))


def _architecture(model: Model) -> str:
    return PRETRAINING if isinstance(model, VideoMAEForPreTraining) else CLASSIFICATION


def save_weights_folder(model: Model, folder: Path, *, card: str) -> None:
    """Write a model as a folder that transformers loads as it is.

    The folder appears whole or not at all: files are written beside it and renamed into place.

    Args:
        model: What to save; its tensors are copied to the CPU. A classifier's batch norm is folded into its head.
        folder: Made new, or replaced when it is an older weights folder.
        card: Markdown of the model card (README.md).

    Raises:
        ConfigError: The folder exists and holds other files.
    """
    if isinstance(model, VideoMAEForVideoClassification):
        model = model.folded()
    write_weights_folder(folder, model.config, _architecture(model), model.state_dict(), card)


def load_pretraining_model(source: str | Path) -> VideoMAEForPreTraining:
    """Load a pretraining model, every tensor placed; see `sources.open_source` for what a source may be.

    Raises:
        CheckpointError: The weights are incomplete or damaged, or of another model.
    """
    return VideoMAEForPreTraining.from_pretrained(source)


def load_classifier(source: str | Path) -> VideoMAEForVideoClassification:
    """Load a fine-tuned classifier, every tensor placed; see `sources.open_source` for what a source may be.

    Raises:
        CheckpointError: The weights are incomplete or damaged, or of another model.
    """
    return VideoMAEForVideoClassification.from_pretrained(source)


def load_encoder(source: str | Path) -> VideoMAEModel | VideoMAEForVideoClassification:
    """Load what features are taken from: a classifier as it is, of any other weights the encoder alone.

    Args:
        source: Weights of any kind; see `sources.open_source`.

    Returns:
        The model, in evaluation mode.

    Raises:
        CheckpointError: The weights are missing, damaged or incomplete.
    """
    opened = open_source(source)
    if opened.architecture == CLASSIFICATION:
        model = VideoMAEForVideoClassification(opened.config)
        warn_of_suspicions(place_exactly(model, opened, CLASSIFICATION))
        return model.eval()
    model = VideoMAEModel(encoder_config(opened))
    warn_of_suspicions(place_encoder(model, opened))
    return model.eval()


def pretraining_from_pretrained(
    source: str | Path, config: VideoMAEConfig
) -> tuple[VideoMAEForPreTraining, WeightsReport]:
    """Go on pretraining existing weights: encoder, decoder and mask token, every tensor placed.

    Args:
        source: Weights of a pretraining model; see `sources.open_source` for what a source may be.
        config: The model that is wanted; in what encoder and decoder compute it must agree with the source's. Where
            it has another frame size or count, the position tables are resampled from theirs.

    Returns:
        The model, and the fate of every tensor.

    Raises:
        CheckpointError: The source is no pretraining model, or a tensor is missing, extra or of another shape.
        ConfigError: The configuration describes another model than the source's.
    """
    opened = open_source(source)
    model = VideoMAEForPreTraining(pretraining_config(opened, config))
    report = place_exactly(model, opened, PRETRAINING)
    warn_of_suspicions(report)
    return model, report


def classifier_from_pretrained(
    source: str | Path, config: VideoMAEConfig
) -> tuple[VideoMAEForVideoClassification, WeightsReport]:
    """Start fine-tuning: a pretrained encoder under a fresh head.

    The pretraining encoder's final norm is dropped where the classifier pools by mean, as published. Where
    the configuration has another frame size or count than the weights, its position table is resampled from
    theirs. From another classifier, the norm comes along, and the head when it is for the same classes.

    Args:
        source: Weights of a pretraining model, a bare encoder or a classifier.
        config: The classifier that is wanted, for example `replace(read_config(folder), drop_path_rate=0.1)
            .with_labels(101)`; in what the encoder computes it must agree with the source's.

    Returns:
        The model, and the fate of every tensor.

    Raises:
        CheckpointError: A tensor is missing, extra or of another shape.
        ConfigError: The configuration describes another encoder than the source's.
    """
    opened = open_source(source)
    config = classifier_config(opened, config)
    model = VideoMAEForVideoClassification(config)
    report = place_classifier(model, opened, config)
    warn_of_suspicions(report)
    return model, report
