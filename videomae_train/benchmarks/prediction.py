"""How long an experiment will take, from steps of two sizes that were measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """Steps of two sizes, in seconds, a mean for each round.

    Attributes:
        short: Steps of one micro-batch.
        long: Steps of `long_micro_batches`, in the same rounds.
        long_micro_batches: At least 2.
        fixed: Everything before the first step and after the last, once.
        save: One checkpoint.
    """

    short: Sequence[float]
    long: Sequence[float]
    long_micro_batches: int
    fixed: float
    save: float


@dataclass(frozen=True)
class Range:
    """The median of what each round says, between the lowest and the highest."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True)
class Prediction:
    """What an experiment will take.

    Attributes:
        steps: Optimizer steps.
        step_sec: Seconds of one.
        total_sec: Of all, with start, end and checkpoints.
    """

    steps: int
    step_sec: Range
    total_sec: Range


def predict(
    measured: Measured, *, steps: int, micro_batches: int, save_every: tuple[int | None, float | None]
) -> Prediction:
    """Predict a run from its steps.

    A step is so many micro-batches and one update: two lengths give both. What an update seems to take is never
    less than nothing.

    Args:
        measured: In this machine's rounds.
        steps: Optimizer steps of the experiment.
        micro_batches: Of each of its steps, one after another.
        save_every: Steps or minutes from one checkpoint to the next, whichever are over first; None for either.
    """
    rounds = sorted(
        _step_sec(short, long, measured.long_micro_batches, micro_batches)
        for short, long in zip(measured.short, measured.long, strict=True)
    )
    step = Range(rounds[0], rounds[len(rounds) // 2], rounds[-1])
    total = (
        steps * sec + measured.fixed + num_saves(steps, sec, *save_every) * measured.save
        for sec in (step.low, step.middle, step.high)
    )
    return Prediction(steps, step, Range(*total))


def num_saves(steps: int, step_sec: float, every_steps: int | None, every_minutes: float | None) -> int:
    """Count the checkpoints between a run's start and its end, where one is written anyhow.

    >>> num_saves(1000, 0.5, 500, None), num_saves(1000, 0.5, None, 1.0), num_saves(1000, 6.0, 500, 15.0)
    (1, 8, 6)
    """
    intervals = [] if every_steps is None else [every_steps]
    if every_minutes is not None and step_sec > 0:
        intervals.append(max(1, math.ceil(60 * every_minutes / step_sec)))
    return (steps - 1) // min(intervals) if intervals else 0


def _step_sec(short: float, long: float, long_micro_batches: int, micro_batches: int) -> float:
    if micro_batches == 1:
        return short
    micro_batch = (long - short) / (long_micro_batches - 1)
    micro_batch = min(max(micro_batch, 0.0), long / long_micro_batches)
    return long + (micro_batches - long_micro_batches) * micro_batch
