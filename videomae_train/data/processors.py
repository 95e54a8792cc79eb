"""How many processes decode, where that is left to the machine."""

from __future__ import annotations

import os

MOST_WORKERS = 8
"""Of a rank; more are seldom of use, and each takes memory."""


def num_processors() -> int:
    """Count the processors that this process may use, where the system tells (not on macOS), else all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers_of_rank(num_ranks: int, own_processors: int | None = None) -> int:
    """Share the processors out: at least one process for each rank, at most `MOST_WORKERS`.

    Args:
        num_ranks: Ranks on this machine, which share what this process may use.
        own_processors: Of this rank alone, where the batch system has said so; None shares.
    """
    usable = num_processors()
    share = usable // num_ranks if own_processors is None else min(usable, own_processors)
    return min(MOST_WORKERS, max(1, share))
