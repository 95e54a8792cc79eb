from __future__ import annotations

import os

import pytest
from small_options import loader_options

from videomae_train.data.processors import MOST_WORKERS, workers_of_rank


@pytest.mark.parametrize(
    ("processors", "ranks", "own", "workers"),
    [
        (2, 1, None, 2),
        (64, 1, None, MOST_WORKERS),
        (64, 8, None, 8),
        (12, 4, None, 3),
        (2, 8, None, 1),
        (64, 8, 4, 4),  # of 64 that all tasks may use, srun has given each 4
        (4, 8, 4, 4),  # it has tied this one to its own
        (2, 1, 8, 2),
    ],
)
def test_workers__are_a_ranks_share_of_the_processors(
    processors: int, ranks: int, own: int | None, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(processors)), raising=False)
    assert workers_of_rank(ranks, own) == workers


def test_loader__that_nobody_has_settled_is_of_a_single_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2}, raising=False)
    assert loader_options("auto").workers == 3  # type: ignore[arg-type]
    assert loader_options(0).workers == 0
