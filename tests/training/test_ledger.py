from pathlib import Path

import numpy as np
import pytest
from stepping import Batches, RankBatches, fit, make_module

from videomae_train.training.agreement import Agreement
from videomae_train.training.ledger import Ledger, cut_ledger, hash_samples, read_ledger
from videomae_train.training.options import LedgerKind


def ledger_of(
    path: Path,
    micro_batch: int,
    world_size: int = 1,
    kind: LedgerKind = "ids",
    every: int = 2,
    first: int = 0,
) -> dict[int, str]:
    module = make_module(micro_batch, world_size=world_size)
    data = RankBatches(micro_batch) if world_size > 1 else Batches(first, micro_batch)
    fit(module, data, path.parent, until=3, also=[Ledger(path, Agreement(), every_steps=every, kind=kind)])
    return read_ledger(path)


WHOLE = {1: "0 1 2 3", 2: "4 5 6 7", 3: "8 9 10 11"}


# Every 100 steps: what is written then is what the checkpoint at the end wants there.
@pytest.mark.parametrize(("micro_batch", "every"), [(4, 1), (1, 2), (2, 100)])
def test_ledger__holds_the_samples_of_each_step_in_order(
    tmp_path: Path, micro_batch: int, every: int
) -> None:
    assert ledger_of(tmp_path / "ledger.csv", micro_batch, every=every) == WHOLE


def test_ledger__of_two_ranks_is_that_of_one(tmp_path: Path) -> None:
    assert ledger_of(tmp_path / "ledger.csv", 1, world_size=2) == WHOLE


def test_hashes__tell_samples_and_their_order_apart(tmp_path: Path) -> None:
    hashes = ledger_of(tmp_path / "ledger.csv", 2, kind="hash")
    assert hashes == {step: hash_samples(np.arange(4 * step - 4, 4 * step)) for step in (1, 2, 3)}
    assert all(len(line) == 16 for line in hashes.values())
    assert hash_samples(np.array([1, 0, 2, 3])) != hashes[1]


def test_views__count_a_video_once(tmp_path: Path) -> None:
    """Two views of two videos come as four clips with their ids side by side."""

    class Twice(Batches):
        def __iter__(self):
            for batch in super().__iter__():
                yield batch._replace(sample_ids=batch.sample_ids // 2)

    module = make_module(2)
    path = tmp_path / "ledger.csv"
    ledger = Ledger(path, Agreement(), every_steps=1, kind="ids")
    fit(module, Twice(0, 4), tmp_path, until=1, also=[ledger])
    assert read_ledger(path) == {1: "0 1 2 3"}


def test_cutting__takes_back_later_steps_and_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    text = "step,samples\n9,aa\n10,bb\n11,cc\n12,dd\n1"  # the last line began as 13
    path.write_text(text)
    cut_ledger(path, 11)
    assert path.read_text() == "step,samples\n9,aa\n10,bb\n11,cc\n"
    cut_ledger(tmp_path / "nowhere.csv", 11)
    assert not (tmp_path / "nowhere.csv").exists()
