"""The interval of a mean over seeds."""

import doctest

import numpy as np
import pytest

from videomae_train.evaluation import seeds
from videomae_train.evaluation.seeds import seed_interval, t_quantile


def test_interval__covers_the_mean_of_normal_scores_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).normal(0.6, 0.05, size=(4000, 3))
    intervals = [seed_interval(row.tolist()) for row in draws]
    covered = np.mean(
        [interval is not None and interval.low <= 0.6 <= interval.high for interval in intervals]
    )
    # 4,000 draws: the share has a standard deviation of 0.35 %; five of them, so that no seed fails by chance.
    assert 0.95 - 0.0175 < covered < 0.95 + 0.0175


def test_one_seed__says_nothing_about_seeds() -> None:
    assert seed_interval([0.5]) is None
    assert seed_interval([]) is None


def test_equal_scores__have_no_width() -> None:
    interval = seed_interval([0.5, 0.5])
    assert interval is not None
    assert interval.low == interval.high == 0.5


@pytest.mark.parametrize(
    ("freedom", "expected"), [(1, 12.706), (9, 2.262), (10, 2.228), (15, 2.131), (100, 1.984)]
)
def test_quantiles__are_those_of_the_tables(freedom: int, expected: float) -> None:
    assert t_quantile(freedom) == pytest.approx(expected, abs=1e-3)


def test_examples() -> None:
    assert doctest.testmod(seeds).failed == 0
