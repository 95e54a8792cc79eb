"""The most memory that a piece of work takes on top of what was there before it."""

from __future__ import annotations

import re
from pathlib import Path

import torch

_PROCESS = Path("/proc/self")


def can_measure(device: torch.device) -> bool:
    """Whether peaks can be read and set back here: tensors on a GPU anywhere, a process on Linux."""
    return device.type == "cuda" or (_PROCESS / "clear_refs").exists()


class MemoryGrowth:
    """Starts counting when it is made.

    On a GPU it counts PyTorch's tensors. On a CPU it counts the process's resident memory: only a process that has run
    nothing else shows what a piece of work needs, as freed memory that is used again is no growth. `getrusage` will not
    do there: a fresh process's peak begins at that of the process which started it.

    Args:
        device: Where the work is done; see `can_measure`.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            # The kernel's word for: the peak is what is resident now.
            (_PROCESS / "clear_refs").write_text("5")
        self._before = self._peak_bytes()

    def gib(self) -> float:
        """Give the peak since then above what was there then, GiB."""
        return (self._peak_bytes() - self._before) / 2**30

    def _peak_bytes(self) -> int:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        found = re.search(r"^VmHWM:\s+(\d+) kB$", (_PROCESS / "status").read_text(), re.MULTILINE)
        assert found, "the kernel that resets VmHWM shows it"
        return int(found[1]) * 1024
