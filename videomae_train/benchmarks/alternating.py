"""Timing in turn: on a shared machine only ratios within one alternating run mean something."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """A median and its quartiles."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: np.ndarray) -> Spread:
        """Summarise values, any shape, at least one."""
        low, median, high = np.percentile(values, [25, 50, 75])
        return cls(float(low), float(median), float(high))


@dataclass(frozen=True)
class Rounds:
    """Seconds of every contender in every round.

    Attributes:
        seconds: Contender -> float64 (rounds,), all in the order of the rounds.
    """

    seconds: Mapping[str, np.ndarray]

    def spread(self, name: str) -> Spread:
        """Summarise a contender's seconds."""
        return Spread.of(self.seconds[name])

    def ratio(self, name: str, baseline: str) -> Spread:
        """Say how many times faster a contender is than the baseline, round by round: above 1 is faster."""
        return Spread.of(self.seconds[baseline] / self.seconds[name])


def in_turn(contenders: Mapping[str, Callable[[int], float]], rounds: int) -> Rounds:
    """Run all contenders in every round, each time beginning with another one.

    What disturbs the machine for a while then disturbs all of them, and the ratio within a round stays.

    Args:
        contenders: Name -> function of the round's number, from 0, that returns the seconds it took.
        rounds: How often; at least 1.

    >>> in_turn({"a": lambda number: 1.0, "b": lambda number: 4.0}, 2).ratio("a", "b").median
    4.0
    """
    names = list(contenders)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(contenders[name](number))
    return Rounds({name: np.array(values) for name, values in seconds.items()})
