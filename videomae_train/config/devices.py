"""What a configuration leaves to the machine: where to compute, and what follows for the loader."""

from __future__ import annotations

from dataclasses import replace

import torch

from videomae_train.data.options import LoaderOptions
from videomae_train.errors import ConfigError


def pick_device(accelerator: str) -> torch.device:
    """Take a GPU when it is asked for, or when there is one and nothing else is asked for.

    Raises:
        ConfigError: A GPU is asked for and there is none.
    """
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigError(
            where="accelerator",
            came="gpu, but none is visible",
            expected="a GPU",
            todo="Set accelerator=cpu.",
        )
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")


def loader_options(options: LoaderOptions, accelerator: str) -> LoaderOptions:
    """Settle what depends on where the run computes."""
    if options.pin_memory != "auto":
        return options
    return replace(options, pin_memory=accelerator != "cpu" and torch.cuda.is_available())
