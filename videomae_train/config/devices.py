"""What a configuration leaves to the machine: where to compute, and what follows for the loader."""

from __future__ import annotations

from dataclasses import replace

import torch

from videomae_train.data.options import LoaderOptions
from videomae_train.errors import ConfigError


def pick_device(accelerator: str, devices: int = 1) -> torch.device:
    """Take GPUs when they are asked for, or when there are some and nothing else is asked for.

    Args:
        accelerator: auto, cpu or gpu.
        devices: How many on this node.

    Raises:
        ConfigError: There are not as many as are to be taken.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    wants_gpus = accelerator == "gpu" or (accelerator == "auto" and available > 0)
    if wants_gpus and available < devices:
        raise ConfigError(
            where="accelerator",
            came=f"{devices} GPU(s) asked for, {available} visible",
            expected="no more than are visible",
            todo="Lower devices, set CUDA_VISIBLE_DEVICES, or set accelerator=cpu.",
        )
    return torch.device("cuda" if wants_gpus else "cpu")


def loader_options(options: LoaderOptions, accelerator: str) -> LoaderOptions:
    """Settle what depends on where the run computes."""
    if options.pin_memory != "auto":
        return options
    return replace(options, pin_memory=accelerator != "cpu" and torch.cuda.is_available())
