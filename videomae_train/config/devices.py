"""What a configuration leaves to the machine: where to compute, and what follows for the loader."""

from __future__ import annotations

from dataclasses import replace

import torch

from videomae_train.data.options import LoaderOptions
from videomae_train.errors import ConfigError


def pick_device(accelerator: str, devices: int = 1) -> torch.device:
    """Take GPUs when they are asked for, or when there are enough and nothing else is asked for.

    Args:
        accelerator: auto, cpu or gpu.
        devices: How many on this node.

    Raises:
        ConfigError: GPUs are asked for and there are not so many.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if accelerator == "gpu" and available < devices:
        raise ConfigError(
            where="accelerator",
            came=f"{devices} GPU(s) asked for, {available} visible",
            expected="no more than are visible",
            todo="Lower devices, set CUDA_VISIBLE_DEVICES, or set accelerator=cpu.",
        )
    return torch.device("cuda" if accelerator != "cpu" and available >= devices else "cpu")


def loader_options(options: LoaderOptions, accelerator: str) -> LoaderOptions:
    """Settle what depends on where the run computes."""
    if options.pin_memory != "auto":
        return options
    return replace(options, pin_memory=accelerator != "cpu" and torch.cuda.is_available())
