"""Arrays in, pictures out: frames as PNG, mp4 and GIF, reconstruction strips, curves, bars and histograms."""

from videomae_train.pictures.distributions import Histogram, count_bars, histogram_panels
from videomae_train.pictures.files import write_gif, write_mp4, write_png
from videomae_train.pictures.plots import loss_curve, score_bars
from videomae_train.pictures.strips import FrameRow, StripPanel, labelled_clip, reconstruction_strip

__all__ = [
    "FrameRow",
    "Histogram",
    "StripPanel",
    "count_bars",
    "histogram_panels",
    "labelled_clip",
    "loss_curve",
    "reconstruction_strip",
    "score_bars",
    "write_gif",
    "write_mp4",
    "write_png",
]
