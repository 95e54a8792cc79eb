"""The ranks of what scores, from its configuration."""

from __future__ import annotations

import torch

from videomae_train.config.devices import pick_device, say_device
from videomae_train.config.knn import NeighboursConfig
from videomae_train.config.schema import EvaluateConfig
from videomae_train.evaluation.ranks import Ranks
from videomae_train.training.ranks import rank_environment


def start_ranks(config: EvaluateConfig | NeighboursConfig) -> Ranks:
    """Prepare the ranks of a score.

    Raises:
        ConfigError: There is no GPU that is asked for, or the starter made another number of ranks.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    sizes = {"devices": config.devices, "num_nodes": config.num_nodes}
    device = pick_device(config.accelerator, config.devices)
    say_device(config.accelerator, device)
    return Ranks(device, **sizes, environment=rank_environment(**sizes, keys=""))
