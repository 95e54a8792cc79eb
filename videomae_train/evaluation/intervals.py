"""How sure a score is: bootstrap over recordings, and, where all are right or all wrong, the exact bound."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from videomae_train.randomness import keyed_rng

_RESAMPLES = 1000
_LEVEL = 0.95


class Interval(NamedTuple):
    """A 95 % interval of an accuracy, or of a difference of two."""

    low: float
    high: float


class RecordingBootstrap:
    """Draws the scored recordings again and again, with replacement, and looks how far an accuracy moves.

    It covers which recordings happened to be in the test set; not the seed of the training, which needs several runs.
    Videos cut from one recording are right or wrong together; drawn one by one they would count as more than they are,
    so that a recording is drawn with all its videos (cluster bootstrap; Davison and Hinkley, 1997, section 3.8).
    Where all are right, every draw is right, too, and says nothing: then the interval is that of the binomial law
    (Clopper and Pearson, 1934), from the accuracy at which n of n recordings right have a probability of 2.5 %.

    Args:
        recordings: int64 (n,), at least one: each scored video's, as numbers from 0 on, each of which occurs.
        seed: Decides the draws.
    """

    def __init__(self, recordings: np.ndarray, seed: int = 0) -> None:
        self._recordings = recordings
        num_recordings = int(recordings.max()) + 1
        rng = keyed_rng(seed, "bootstrap", num_recordings)
        shares = np.full(num_recordings, 1 / num_recordings)
        drawn = rng.multinomial(num_recordings, shares, size=_RESAMPLES).astype(np.float32)
        # How often each video stands in each draw, which is all that an accuracy needs to know.
        self._counts = drawn[:, recordings]

    def of_mean(self, hits: np.ndarray) -> Interval:
        """Bound the share of hits, bool (n,)."""
        if hits.all() or not hits.any():
            return _all_alike(bool(hits[0]), len(np.unique(self._recordings)))
        return _percentiles(self._counts @ hits.astype(np.float32) / self._counts.sum(1))

    def of_difference(self, differences: np.ndarray) -> Interval:
        """Bound the mean of what one classifier has more than another on the same videos, float (n,) in [-1, 1]."""
        return _percentiles(self._counts @ differences.astype(np.float32) / self._counts.sum(1))

    def of_class_mean(self, hits: np.ndarray, labels: np.ndarray) -> Interval:
        """Bound the mean over classes of each class's share of hits; a draw without a class leaves it out.

        Args:
            hits: bool (n,).
            labels: int64 (n,).
        """
        classes = np.unique(labels)
        if hits.all() or not hits.any():
            # As if each class had as few as the smallest: a mistake there moves the mean the most.
            fewest = min(len(np.unique(self._recordings[labels == label])) for label in classes)
            return _all_alike(bool(hits[0]), fewest * len(classes))
        members = labels[:, None] == classes
        drawn = self._counts @ members.astype(np.float32)
        right = self._counts @ (members & hits[:, None]).astype(np.float32)
        with np.errstate(invalid="ignore"):  # 0 / 0 where a class was not drawn
            return _percentiles(np.nanmean(right / drawn, axis=1))


def _all_alike(right: bool, num_recordings: int) -> Interval:
    """Bound an accuracy of which so many recordings are all right, or all wrong.

    >>> round(_all_alike(True, 12).low, 3)
    0.735
    """
    least = ((1 - _LEVEL) / 2) ** (1 / num_recordings)
    return Interval(least, 1.0) if right else Interval(0.0, 1 - least)


def _percentiles(values: np.ndarray) -> Interval:
    low, high = np.quantile(values, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(float(low), float(high))
