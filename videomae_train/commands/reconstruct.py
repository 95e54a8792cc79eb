"""`videomae reconstruct`: the pictures' losses and where they are."""

from __future__ import annotations

from omegaconf import DictConfig

from videomae_train.commands.messages import say
from videomae_train.config.loader import load_job
from videomae_train.config.reconstruct import reconstruct
from videomae_train.config.schema import ReconstructConfig


def run_reconstruct(mapping: DictConfig) -> None:
    """Picture what a pretrained model puts back, and say where."""
    pictures = reconstruct(load_job("reconstruct", mapping, ReconstructConfig))
    losses = " · ".join(f"{ratio:.0%} hidden: loss {loss:.3f}" for ratio, loss in pictures.losses.items())
    say(losses, f"Pictures: {pictures.strip}, {pictures.mp4}, {pictures.gif}")
