"""The search for the micro-batch, with a device whose memory runs out where the test says so."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from stepping import ADAMW, CONFIG, PLAIN, Batches, fit, make_batch, make_module

from videomae_train.errors import ConfigError
from videomae_train.model import VideoMAEForPreTraining
from videomae_train.training.batch_search import (
    MemoryProbe,
    MicroBatchSearch,
    largest_that_fits,
)
from videomae_train.training.tasks import ReconstructionTask, Task
from videomae_train.types import PretrainBatch

CPU = torch.device("cpu")


@pytest.mark.parametrize(("room", "found"), [(100, 8), (8, 8), (7, 4), (1, 1), (0, 0)])
def test_search__ends_at_the_first_size_that_does_not_fit(room: int, found: int) -> None:
    tried: list[int] = []

    def fits(size: int) -> bool:
        tried.append(size)
        return size <= room

    assert largest_that_fits((1, 2, 4, 8), fits) == found
    assert tried == [size for size in (1, 2, 4, 8) if size <= max(1, 2 * room)]


class OutOfMemory(ReconstructionTask):
    """Draws like library code does, and runs out of memory past so many clips."""

    def __init__(self, room: int) -> None:
        super().__init__(VideoMAEForPreTraining(CONFIG))
        self._room = room

    def loss(self, batch: PretrainBatch) -> torch.Tensor:
        random.random(), np.random.rand(), torch.rand(1)
        if len(batch.clips) > self._room:
            raise torch.OutOfMemoryError("out of memory")
        return super().loss(batch)


def probe(make_task: Callable[[], Task]) -> MemoryProbe:
    return MemoryProbe(make_task, lambda size, device: make_batch(0, size), ADAMW, PLAIN)


def test_probe__leaves_every_generator_as_it_was() -> None:
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())  # type: ignore[index, union-attr]
    assert probe(lambda: OutOfMemory(2)).fits(2, CPU)
    assert not probe(lambda: OutOfMemory(2)).fits(4, CPU)
    after = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())  # type: ignore[index, union-attr]
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])


def test_probe__lets_other_errors_pass() -> None:
    def broken() -> Task:
        raise RuntimeError("not about memory")

    with pytest.raises(RuntimeError, match="not about memory"):
        probe(broken).fits(1, CPU)


def test_run_with_search__ends_where_the_run_with_that_size_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, searching = make_module(2), make_module(1)
    batches = Batches(0, 1)

    def use(size: int) -> None:
        searching.use_micro_batch(size)
        batches.size = size

    search = MicroBatchSearch((1, 2, 4), probe(lambda: OutOfMemory(3)).fits, use)
    fit(given, Batches(0, 2), tmp_path / "given", until=2)
    fit(searching, batches, tmp_path / "searching", until=2, also=[search])
    assert searching.plan == given.plan
    assert "micro-batch 2 of [1, 2, 4] fits" in capsys.readouterr().err
    for ours, theirs in zip(given.model.parameters(), searching.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_search__without_any_room_is_a_configuration_error(tmp_path: Path) -> None:
    search = MicroBatchSearch((1, 2), lambda size, device: False, lambda size: None)
    with pytest.raises(ConfigError, match=r"trainer\.micro_batch: no memory for 1 video"):
        fit(make_module(1), Batches(0, 1), tmp_path, until=1, also=[search])
