from __future__ import annotations

import doctest

import numpy as np
import pytest

from videomae_train.errors import ConfigError
from videomae_train.masking import (
    DecodeAll,
    DecodeRunningCells,
    DecodeShare,
    FrameMask,
    MaskSampler,
    RandomMask,
    TubeMask,
    indices,
    patterns,
    running_cell_map,
    samplers,
    split_mask,
)
from videomae_train.randomness import keyed_rng
from videomae_train.types import PatchGrid

GRID = PatchGrid(t=8, h=14, w=14)
SAMPLERS = [TubeMask(0.9), RandomMask(0.9), FrameMask(0.875), TubeMask(0.5), RandomMask(0.01)]


@pytest.mark.parametrize(
    ("grid", "ratio", "hidden"),
    [
        (GRID, 0.9, 1408),
        (GRID, 0.75, 1176),
        (GRID, 0.95, 1488),
        (PatchGrid(8, 16, 16), 0.9, 1840),
        (PatchGrid(8, 20, 20), 0.9, 2880),
    ],
)
def test_tube__hides_the_published_counts(grid: PatchGrid, ratio: float, hidden: int) -> None:
    assert TubeMask(ratio).num_hidden(grid) == hidden
    assert TubeMask(ratio)(grid, keyed_rng(0)).sum() == hidden


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_mask__hides_exactly_the_promised_count(sampler: MaskSampler) -> None:
    counts = {int(sampler(GRID, keyed_rng("count", draw)).sum()) for draw in range(50)}
    assert counts == {sampler.num_hidden(GRID)}
    assert sampler.effective_ratio(GRID) == sampler.num_hidden(GRID) / GRID.num_tokens


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_masks__are_a_function_of_the_generator_and_reach_every_token(sampler: MaskSampler) -> None:
    assert np.array_equal(sampler(GRID, keyed_rng(1)), sampler(GRID, keyed_rng(1)))
    draws = np.stack([sampler(GRID, keyed_rng("reach", draw)) for draw in range(400)])
    # A token misses all 400 draws at the smallest share of 0.01 with chance 0.02; each place must be near
    # its share.
    spread = np.abs(draws.mean(0) - sampler.effective_ratio(GRID)).max()
    assert spread < 5 * np.sqrt(0.25 / 400)


def test_tube__is_the_same_in_every_slot_and_frame_hides_whole_slots() -> None:
    tube = TubeMask(0.9)(GRID, keyed_rng(2)).reshape(8, 196)
    assert (tube == tube[0]).all()
    frame = FrameMask(0.875)(GRID, keyed_rng(2)).reshape(8, 196)
    assert (frame.all(1) | ~frame.any(1)).all()
    random = RandomMask(0.9)(GRID, keyed_rng(2)).reshape(8, 196)
    assert (random != random[0]).any()


def test_draws__are_pinned_for_every_numpy_version() -> None:
    visible, _ = split_mask(TubeMask(0.9)(PatchGrid(1, 14, 14), keyed_rng(0, "mask")))
    assert visible.tolist() == PINNED


PINNED = [0, 5, 14, 17, 19, 20, 21, 35, 42, 47, 57, 64, 109, 111, 112, 125, 160, 162, 181, 193]


def test_frame__reports_that_only_eighths_exist() -> None:
    assert FrameMask(0.9).effective_ratio(GRID) == 0.875


@pytest.mark.parametrize(
    "sampler", [TubeMask(0.001), FrameMask(0.1), RandomMask(1.0), TubeMask(0.0), TubeMask(90)]
)
def test_nothing_or_everything_hidden__is_refused(sampler: MaskSampler) -> None:
    with pytest.raises(ConfigError, match=r"masking\.ratio"):
        sampler.num_hidden(GRID)
    with pytest.raises(ConfigError, match=r"masking\.ratio"):
        sampler(GRID, keyed_rng(0))


def test_split__lists_each_token_once_ascending() -> None:
    mask = RandomMask(0.6)(GRID, keyed_rng(3))
    visible, hidden = split_mask(mask)
    assert visible.dtype == hidden.dtype == np.int64
    assert np.array_equal(np.sort(np.concatenate([visible, hidden])), np.arange(GRID.num_tokens))
    assert (np.diff(visible) > 0).all()
    assert (np.diff(hidden) > 0).all()
    assert mask[hidden].all()


@pytest.mark.parametrize(
    "mask",
    [np.ones(4, dtype=np.int64), np.zeros(4, dtype=bool), np.ones(4, dtype=bool), np.eye(4, dtype=bool)],
)
def test_split__refuses_integers_and_one_sided_masks(mask: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="mask"):
        split_mask(mask)


def test_running_cells__are_the_published_pattern() -> None:
    pattern = running_cell_map(PatchGrid(8, 2, 2), 0.5, start=0).reshape(8, 2, 2).astype(int).tolist()
    four = [[[1, 0], [0, 1]], [[0, 0], [1, 1]], [[0, 1], [1, 0]], [[1, 1], [0, 0]]]
    assert pattern == four + four


def test_running_cells__decode_704_of_1408_and_each_position_equally_often() -> None:
    for draw in range(20):
        mask = TubeMask(0.9)(GRID, keyed_rng("encoder", draw))
        decoded = DecodeRunningCells(0.5)(mask, GRID, keyed_rng("decoder", draw))
        assert mask[decoded].sum() == DecodeRunningCells(0.5).num_decoded(1408, GRID) == 704
        assert decoded.size == 784, "80 visible ones among them, as published"
        assert (np.bincount(decoded % 196, minlength=196) == 4).all()


def test_running_cells__draw_all_four_patterns() -> None:
    mask = TubeMask(0.5)(GRID, keyed_rng(0))
    drawn = {DecodeRunningCells(0.5)(mask, GRID, keyed_rng(draw)).tobytes() for draw in range(40)}
    assert len(drawn) == 4


@pytest.mark.parametrize("grid", [PatchGrid(8, 7, 7), PatchGrid(8, 4, 7), PatchGrid(6, 4, 4)])
def test_running_cells__refuse_grids_they_do_not_tile(grid: PatchGrid) -> None:
    with pytest.raises(ConfigError, match="grid"):
        running_cell_map(grid, 0.5, start=0)


def test_running_cells__refuse_useless_ratios_and_random_masks() -> None:
    with pytest.raises(ConfigError, match=r"masking\.decode\.ratio"):
        running_cell_map(GRID, 0.1, start=0)
    with pytest.raises(ConfigError, match="tube or frame"):
        DecodeRunningCells(0.5)(RandomMask(0.9)(GRID, keyed_rng(0)), GRID, keyed_rng(0))


def test_decode_share__keeps_exactly_the_share_of_the_hidden_tokens() -> None:
    mask = TubeMask(0.9)(GRID, keyed_rng(0))
    kept = DecodeShare(0.25)(mask, GRID, keyed_rng(1))
    assert kept.size == DecodeShare(0.25).num_decoded(1408, GRID) == 352
    assert mask[kept].all()
    assert (np.diff(kept) > 0).all()
    assert np.array_equal(DecodeAll()(mask, GRID, keyed_rng(1)), split_mask(mask)[1])
    with pytest.raises(ConfigError, match=r"masking\.decode\.share"):
        DecodeShare(1.5).num_decoded(1408, GRID)


@pytest.mark.parametrize("module", [patterns, samplers, indices])
def test_documented_examples__hold(module: object) -> None:
    assert doctest.testmod(module).failed == 0
