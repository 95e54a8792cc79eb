"""Trained models on videos as they come: files, without packing them first."""

from videomae_train.inference.features import VideoFeature, VideoFeatures
from videomae_train.inference.prediction import ClassProbability, Prediction, VideoPredictor
from videomae_train.inference.representation import Representation
from videomae_train.inference.video_files import FoundVideos, find_videos

__all__ = [
    "ClassProbability",
    "FoundVideos",
    "Prediction",
    "Representation",
    "VideoFeature",
    "VideoFeatures",
    "VideoPredictor",
    "find_videos",
]
