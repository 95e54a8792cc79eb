"""When the ranks' gradients are summed, and that each step of a run sums them alike."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def gradient_sync(model: nn.Module | None, wanted: bool) -> AbstractContextManager[None]:
    """Sum the gradients of a backward pass over the ranks, or keep them apart while a step accumulates.

    Args:
        model: As the strategy has it: wrapped, or alone on one rank.
        wanted: Whether this is the last micro-batch of a step.
    """
    if wanted or not isinstance(model, DistributedDataParallel):
        return torch.enable_grad()
    return model.no_sync()


def order_buckets(model: nn.Module | None, backward: Callable[[], None]) -> None:
    """Let DDP find the order of its buckets, by a backward pass before an attempt's first step that leaves nothing.

    DDP orders them anew after its first pass. From three ranks on the last bits of a sum depend on where in a bucket a
    gradient lies, so that the first step after resuming would not be the one of a run that was left alone.

    Args:
        model: As the strategy has it; one that is not DDP has no buckets, and nothing happens.
        backward: A pass through all parameters.
    """
    if isinstance(model, DistributedDataParallel):
        before = [buffer.clone() for buffer in model.buffers()]  # such as the running figures of batch norm
        backward()
        model.zero_grad(set_to_none=True)
        for buffer, own in zip(model.buffers(), before, strict=True):
            buffer.copy_(own)


def share_buffers(model: nn.Module) -> None:
    """Give all ranks the first one's buffers, which are those that it saves."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, src=0)
