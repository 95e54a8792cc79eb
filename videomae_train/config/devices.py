"""What a configuration leaves to the machine: where to compute, and what follows for the loader."""

from __future__ import annotations

import sys
from dataclasses import replace

import torch

from videomae_train.data.options import LoaderOptions
from videomae_train.data.processors import workers_of_rank
from videomae_train.training.accelerator import Kind, choose_kind, device_words, find_gpus
from videomae_train.training.starters import global_rank, processors_of_task


def pick_device(accelerator: str, devices: int = 1) -> torch.device:
    """Take GPUs when they are asked for, or when there are some and nothing else is asked for.

    Args:
        accelerator: auto, cpu or gpu.
        devices: How many on this node.

    Raises:
        ConfigError: There are not as many as are to be taken, or they cannot be used.
    """
    return torch.device("cuda" if choose_kind(accelerator, devices, find_gpus()) == "gpu" else "cpu")


def say_device(accelerator: str, device: torch.device) -> None:
    """Say once, on rank 0, where auto has come to."""
    if global_rank() == 0:
        kind: Kind = "gpu" if device.type == "cuda" else "cpu"
        for line in device_words(accelerator, kind, find_gpus()):
            print(line, file=sys.stderr)


def loader_options(options: LoaderOptions, accelerator: str, devices: int = 1) -> LoaderOptions:
    """Settle what depends on where the run computes, and with how many ranks on this node."""
    options = with_workers(options, devices)
    if options.pin_memory != "auto":
        return options
    return replace(options, pin_memory=accelerator != "cpu" and find_gpus().usable > 0)


def with_workers(options: LoaderOptions, devices: int) -> LoaderOptions:
    """Settle how many processes decode for each of a node's ranks."""
    if options.num_workers != "auto":
        return options
    return replace(options, num_workers=workers_of_rank(devices, processors_of_task()))
