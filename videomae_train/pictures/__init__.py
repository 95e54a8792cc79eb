"""Arrays in, pictures out: frames as PNG, mp4 and GIF, reconstruction strips, curves, bars and histograms."""

from videomae_train.pictures.budgets import scores_by_budget
from videomae_train.pictures.comparisons import (
    CurvePanel,
    Line,
    Priced,
    curve_panels,
    scores_by_cost,
    scores_by_ratio,
)
from videomae_train.pictures.confusions import confusion_picture
from videomae_train.pictures.distributions import Histogram, count_bars, histogram_panels
from videomae_train.pictures.files import webp_bytes, write_gif, write_mp4, write_png
from videomae_train.pictures.marks import PlacedScore
from videomae_train.pictures.plots import loss_curve, score_bars
from videomae_train.pictures.strips import FrameRow, StripPanel, labelled_clip, reconstruction_strip

__all__ = [
    "CurvePanel",
    "FrameRow",
    "Histogram",
    "Line",
    "PlacedScore",
    "Priced",
    "StripPanel",
    "confusion_picture",
    "count_bars",
    "curve_panels",
    "histogram_panels",
    "labelled_clip",
    "loss_curve",
    "reconstruction_strip",
    "score_bars",
    "scores_by_budget",
    "scores_by_cost",
    "scores_by_ratio",
    "webp_bytes",
    "write_gif",
    "write_mp4",
    "write_png",
]
