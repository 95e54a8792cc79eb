"""Are two samples of one distribution? With a known rate of false alarms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FALSE_ALARMS = 1e-6  # for each comparison, had the seeds been drawn at random


def assert_same_distribution(ours: Sequence[float], theirs: Sequence[float], what: str) -> None:
    """Compare two samples by Kolmogorov's and Smirnov's distance; ties make the test milder, never stricter."""
    one, two = np.sort(ours), np.sort(theirs)
    places = np.concatenate([one, two])
    shares = [np.searchsorted(sample, places, side="right") / len(sample) for sample in (one, two)]
    distance = np.abs(shares[0] - shares[1]).max()
    limit = np.sqrt(-np.log(FALSE_ALARMS / 2) / 2 * (1 / len(one) + 1 / len(two)))
    assert distance < limit, f"{what}: {distance:.4f} apart, {limit:.4f} allowed"
