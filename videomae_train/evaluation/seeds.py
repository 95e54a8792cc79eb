"""How sure a mean over seeds is: Student's t."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist, mean, stdev

from videomae_train.evaluation.intervals import Interval

# The 97.5 % point of Student's t for 1 to 9 degrees of freedom.
_T = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622)


def seed_interval(scores: Sequence[float]) -> Interval | None:
    """Bound the mean of scores of several seeds, at 95 %.

    It covers what changes from seed to seed, on these test videos; wide with two or three seeds, as it should be, and
    not cut off at 0 and 1.

    Args:
        scores: One of each seed.

    Returns:
        None for fewer than two, which say nothing about how seeds differ.
    """
    if len(scores) < 2:
        return None
    half = t_quantile(len(scores) - 1) * stdev(scores) / len(scores) ** 0.5
    return Interval(mean(scores) - half, mean(scores) + half)


def t_quantile(freedom: int) -> float:
    """Return the 97.5 % point of Student's t, from ten degrees of freedom on by Cornish and Fisher's expansion.

    >>> round(t_quantile(2), 3), round(t_quantile(10), 3), round(t_quantile(30), 3)
    (4.303, 2.228, 2.042)
    """
    if freedom <= len(_T):
        return _T[freedom - 1]
    z = NormalDist().inv_cdf(0.975)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
