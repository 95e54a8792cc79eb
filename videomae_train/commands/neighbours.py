"""`videomae probe probe=knn`: the score by nearest neighbours, and what it stands on."""

from __future__ import annotations

from omegaconf import DictConfig

from videomae_train.commands.messages import say
from videomae_train.config.knn import NeighboursConfig
from videomae_train.config.loader import load_job
from videomae_train.config.neighbours import probe_neighbours
from videomae_train.evaluation.scoring import Accuracy


def run_neighbours(mapping: DictConfig) -> None:
    """Classify by the nearest labelled videos and say what came of it."""
    config = load_job("probe", mapping, NeighboursConfig)
    accuracy = probe_neighbours(config)
    if accuracy is not None:  # another rank says it
        _say_score(config, accuracy)


def _say_score(config: NeighboursConfig, accuracy: Accuracy) -> None:
    top5 = "" if accuracy.top5 is None else f" · top-5 {accuracy.top5:.4f}"
    low, high = accuracy.top1_interval
    say(
        f"top-1 {accuracy.top1:.4f} (95 % interval {low:.4f} to {high:.4f} over {accuracy.interval_over}){top5}"
        f" · mean class accuracy {accuracy.mean_class:.4f}"
        f" · on {accuracy.num_scored} of {accuracy.num_videos} videos,"
        f" {config.data.num_clips} x {config.data.num_crops} views",
        f"Scores and figures: {config.run}",
    )
