"""What ranks tell each other on the host, so that all take the same decision; with one rank, nothing is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from videomae_train.errors import VideoMAETrainError

Value = TypeVar("Value")


class Agreement:
    """Small collectives between the ranks' processes.

    They go over gloo even where gradients go over NCCL: a number that lies on a GPU can only be read by waiting for
    everything that was queued before it. So a question to all ranks costs a message, and no stop of the GPU.
    All ranks must ask the same questions in the same order.

    Args:
        timeout: How long one of them may take; None leaves PyTorch's choice.
    """

    def __init__(self, timeout: timedelta | None = None) -> None:
        self._timeout = timeout
        self._group: Any = None

    def largest(self, values: Sequence[int]) -> list[int]:
        """Return the largest value over all ranks, each for itself."""
        if not _several():
            return list(values)
        tensor = torch.tensor(values, dtype=torch.int64)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=self._host_group())
        return tensor.tolist()

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all ranks, in the order of ranks; they travel as pickles."""
        if not _several():
            return [value]
        gathered: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(gathered, value, group=self._host_group())
        return gathered

    def by_first(self, make: Callable[[], Value]) -> Value:
        """Let rank 0 make something for all.

        Raises:
            VideoMAETrainError: What `make` raised on rank 0, on every rank: none waits for one that has ended.
            OSError: The same.
        """
        if not _several():
            return make()
        made: Value | None = None
        failure: Exception | None = None
        if dist.get_rank() == 0:
            try:
                made = make()
            except (VideoMAETrainError, OSError) as error:
                failure = error
        sent: list[Any] = [made, failure]
        dist.broadcast_object_list(sent, src=0, group=self._host_group())
        if sent[1] is not None:
            raise failure or sent[1]
        return sent[0]

    def _host_group(self) -> Any:
        if self._group is None:
            is_gloo = dist.get_backend() == dist.Backend.GLOO
            self._group = (
                dist.group.WORLD if is_gloo else dist.new_group(backend="gloo", timeout=self._timeout)
            )
        return self._group


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
