"""The VideoMAE model family: architecture, weights in and out, image processor."""

from videomae_train.model.audit import Fate, TensorNote, WeightsReport
from videomae_train.model.classifier import VideoMAEForVideoClassification
from videomae_train.model.config import VideoMAEConfig
from videomae_train.model.convert import Layout, convert, push_folder
from videomae_train.model.encoder_model import VideoMAEModel
from videomae_train.model.image_processor import VideoMAEFeatureExtractor, VideoMAEImageProcessor
from videomae_train.model.outputs import ClassificationOutput, EncoderOutput, PreTrainingOutput
from videomae_train.model.patches import normalise_clips, patchify, unpatchify
from videomae_train.model.pretraining import VideoMAEForPreTraining
from videomae_train.model.sources import read_config
from videomae_train.model.weights import (
    classifier_from_pretrained,
    config_record,
    load_classifier,
    load_encoder,
    load_pretraining_model,
    pretraining_from_pretrained,
    save_weights_folder,
)

__all__ = [
    "ClassificationOutput",
    "EncoderOutput",
    "Fate",
    "Layout",
    "PreTrainingOutput",
    "TensorNote",
    "VideoMAEConfig",
    "VideoMAEFeatureExtractor",
    "VideoMAEForPreTraining",
    "VideoMAEForVideoClassification",
    "VideoMAEImageProcessor",
    "VideoMAEModel",
    "WeightsReport",
    "classifier_from_pretrained",
    "config_record",
    "convert",
    "load_classifier",
    "load_encoder",
    "load_pretraining_model",
    "normalise_clips",
    "patchify",
    "pretraining_from_pretrained",
    "push_folder",
    "read_config",
    "save_weights_folder",
    "unpatchify",
]
