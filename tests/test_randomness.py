import random

import numpy as np
import pytest
import torch

from videomae_train.randomness import (
    keyed_permutation,
    keyed_rng,
    philox_key,
    seed_global_generators,
    seeded_scope,
)

GOLDEN_WORDS = [253793835275744517, 12631410733472875662, 10007676568852885839]
GOLDEN_PERMUTATION = [0, 5, 7, 6, 3, 2, 4, 1]


def test_philox_key__parts_do_not_run_into_each_other() -> None:
    keys = {philox_key("ab", "c"), philox_key("a", "bc"), philox_key("abc"), philox_key(1), philox_key("1")}
    assert len(keys) == 5


def test_keyed_rng__is_pinned() -> None:
    # A change here changes every run's data: it must never happen unnoticed.
    assert keyed_rng(0, "golden").bit_generator.random_raw(3).tolist() == GOLDEN_WORDS
    assert keyed_permutation(8, 0, "golden").tolist() == GOLDEN_PERMUTATION


def test_keyed_permutation__is_a_permutation() -> None:
    assert sorted(keyed_permutation(1000, "x").tolist()) == list(range(1000))


def test_seeded_scope__gives_the_same_draws_and_leaves_no_trace() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    with seeded_scope(0, "a"):
        first = draw()
    with seeded_scope(0, "a"):
        assert draw() == first
    with seeded_scope(0, "b"):
        assert draw() != first
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])


def test_seeded_scope__restores_after_an_error() -> None:
    before = random.getstate()
    with pytest.raises(ZeroDivisionError), seeded_scope(1):
        raise ZeroDivisionError
    assert random.getstate() == before


def test_global_seeds__give_torch_the_draws_of_manual_seed() -> None:
    seed_global_generators("a", 1)
    drawn = torch.rand(4)
    torch.manual_seed(philox_key("a", 1) % 2**63)
    assert torch.equal(drawn, torch.rand(4))
