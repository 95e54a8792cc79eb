"""Loss, clips and seconds between two reports."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor


class Seconds(NamedTuple):
    """Wall-clock seconds between two reports: in all, and those spent waiting for data."""

    total: float
    waited: float


class Meter:
    """Sums what a report averages; losses stay on the device until somebody reads them."""

    def __init__(self) -> None:
        self._sums: Tensor | None = None
        self._clips = 0
        self._waited_sec = 0.0
        self._began = self._idle_since = time.perf_counter()

    def data_arrived(self) -> None:
        """Count the time since the last micro-batch as waiting."""
        self._waited_sec += time.perf_counter() - self._idle_since

    def compute_ended(self) -> None:
        """Wait for data from now on."""
        self._idle_since = time.perf_counter()

    @contextmanager
    def stopped(self) -> Generator[None]:
        """Leave out what happens inside a block, which is no training."""
        before = time.perf_counter()
        yield
        passed = time.perf_counter() - before
        self._began += passed
        self._idle_since += passed

    def add(self, loss: Tensor, clips: int) -> None:
        """Count a micro-batch; one whose loss is not finite counts no loss."""
        finite = torch.isfinite(loss)
        both = torch.stack((torch.where(finite, loss, 0.0), finite.to(loss.dtype)))
        # Restored losses lie on the CPU.
        self._sums = both if self._sums is None else self._sums.to(both.device) + both
        self._clips += clips

    def sums(self) -> Tensor:
        """Give [sum of the finite losses, how many these are, clips], on the device of the losses."""
        assert self._sums is not None
        return torch.cat((self._sums, self._sums.new_full((1,), self._clips)))

    def losses(self) -> Tensor | None:
        """Give what the next report will average so far, [sum, count] on the CPU; None right after a report."""
        return None if self._sums is None else self._sums.cpu()

    def restore_losses(self, losses: Tensor) -> None:
        """Go on from what `losses` gave, wherever the losses to come lie."""
        self._sums = losses

    def restart(self) -> Seconds:
        """Return the seconds since the last restart, and begin anew."""
        now = time.perf_counter()
        passed = Seconds(now - self._began, self._waited_sec)
        self._sums, self._clips, self._waited_sec, self._began = None, 0, 0.0, now
        return passed
