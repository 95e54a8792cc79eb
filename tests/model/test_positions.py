from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
import torch

from videomae_train.model import positions
from videomae_train.model.positions import position_table, sincos_table
from videomae_train.types import PatchGrid

GRID = PatchGrid(8, 14, 14)


def test_table__has_the_published_values() -> None:
    table = sincos_table(1568, 768)
    assert table.dtype == torch.float32
    assert table[1, :4].tolist() == pytest.approx([0.84147096, 0.54030228, 0.82843077, 0.56009150], abs=3e-8)
    late = [0.60894841, -0.79320985, 0.09323163, -0.99564445]
    assert table[1567, :4].tolist() == pytest.approx(late, abs=3e-8)
    assert table[1567, 766:].tolist() == pytest.approx([0.15981568, 0.98714685], abs=3e-8)


def test_trained_grid__is_exact_whatever_its_shape() -> None:
    assert torch.equal(position_table(GRID, GRID, 96), sincos_table(1568, 96))


def test_resampling_in_time__interpolates_between_the_same_places() -> None:
    """Four slots from eight: each new slot lies in the middle between two old ones."""
    old = sincos_table(1568, 48).double().reshape(8, 196, 48)
    new = position_table(PatchGrid(4, 14, 14), GRID, 48).double().reshape(4, 196, 48)
    assert (new - (old[0::2] + old[1::2]) / 2).abs().max() < 1e-6


def test_resampling_in_space__knows_rows_from_columns() -> None:
    """Twice as wide: the first column of each old row stays near that row's start, in every row and slot."""
    old = sincos_table(2 * 3 * 4, 8).reshape(2, 3, 4, 8)
    new = position_table(PatchGrid(2, 3, 8), PatchGrid(2, 3, 4), 8).reshape(2, 3, 8, 8)
    assert (new[:, :, 0] - old[:, :, 0]).abs().max() < 1e-6
    assert (new[:, :, 7] - old[:, :, 3]).abs().max() < 1e-6
    assert (new[:, :, 1] - (0.75 * old[:, :, 0] + 0.25 * old[:, :, 1])).abs().max() < 1e-6


def test_resampled_table__is_not_the_one_dimensional_table_of_the_new_grid() -> None:
    new = PatchGrid(8, 16, 16)
    assert (position_table(new, GRID, 48) - sincos_table(new.num_tokens, 48)).abs().max() > 0.5


def test_nearest_old_place__is_the_most_alike() -> None:
    """A token of a finer grid is most like the old tokens around its own place, seen over the width."""
    old = sincos_table(1568, 768).numpy()
    fine = PatchGrid(8, 20, 20)
    new = position_table(fine, GRID, 768).numpy()
    for t, h, w in [(0, 0, 0), (3, 9, 4), (7, 19, 19)]:
        best = int(np.argmin(((old - new[(t * 20 + h) * 20 + w]) ** 2).sum(1)))
        place = (best // 196, best // 14 % 14, best % 14)
        true = (t, (h + 0.5) * 0.7 - 0.5, (w + 0.5) * 0.7 - 0.5)
        assert math.dist(place, true) < 1.0


def test_documented_examples__hold() -> None:
    assert doctest.testmod(positions).failed == 0
