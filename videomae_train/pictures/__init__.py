"""Arrays in, pictures out: frames as PNG, mp4 and GIF, reconstruction strips, curves and bars."""

from videomae_train.pictures.files import write_gif, write_mp4, write_png
from videomae_train.pictures.plots import loss_curve, score_bars
from videomae_train.pictures.strips import FrameRow, StripPanel, labelled_clip, reconstruction_strip

__all__ = [
    "FrameRow",
    "StripPanel",
    "labelled_clip",
    "loss_curve",
    "reconstruction_strip",
    "score_bars",
    "write_gif",
    "write_mp4",
    "write_png",
]
