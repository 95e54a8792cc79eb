"""Numbers as a reader takes them in: one rule for each kind, a dash for what is not known."""

from __future__ import annotations

import math

from videomae_train.reporting.facts import TrainingFacts
from videomae_train.reporting.parts import Cell, Tone

UNKNOWN = "–"
_TONES: dict[str, Tone] = {
    "finished": "good", "running": "note", "preempted": "warning", "failed": "error", "silent": "warning",
    "not started": "note", "waiting": "note", "incomplete": "warning",
}  # fmt: skip


def number(value: float | None, digits: int = 3) -> Cell:
    """Write a number into a cell that sorts by it; NaN is shown, and sorts as unknown.

    >>> number(0.61349).text, number(None).text, number(float("nan")).text
    ('0.613', '–', 'NaN')
    """
    if value is None:
        return Cell(UNKNOWN, None, is_number=True)
    if not math.isfinite(value):
        return Cell("NaN" if math.isnan(value) else f"{value}", None, "error", is_number=True)
    return Cell(f"{value:.{digits}f}", value, is_number=True)


def hours_text(hours: float | None) -> str:
    """Write hours, shorter times as minutes.

    >>> hours_text(26.44), hours_text(0.211), hours_text(None)
    ('26.4 h', '13 min', '–')
    """
    if hours is None:
        return UNKNOWN
    return (
        f"{hours:.1f} h"
        if hours >= 1
        else f"{60 * hours:.2g} min"
        if hours < 1 / 6
        else f"{60 * hours:.0f} min"
    )


def interval_text(interval: tuple[float, float] | None) -> str:
    """Write an interval; a dash where there is none."""
    if interval is None or not all(map(math.isfinite, interval)):
        return UNKNOWN
    return "{:.3f} – {:.3f}".format(*interval)


def progress_text(facts: TrainingFacts) -> str:
    """Say how far a run is."""
    return f"{facts.steps}" if facts.total_steps is None else f"{facts.steps} of {facts.total_steps}"


def tone_of(state: str) -> Tone:
    """Colour a run's or a point's state, by its name."""
    return _TONES[state]


def loss_beside_baselines(facts: TrainingFacts) -> str:
    """Say the last loss, and what predictions without a model would cost."""
    if facts.loss is None:
        return "no loss was reported"
    levels = "; ".join(f"{baseline_name(name)} costs {level:.4f}" for name, level in facts.baselines.items())
    return f"{facts.loss:.4f} at step {facts.steps}" + (f" ({levels})" if levels else "")


def baseline_name(name: str) -> str:
    """Name a loss that needs no model in words."""
    return {"predict_mean": "predicting the mean", "copy_nearest": "copying the nearest patch"}.get(
        name, name.replace("_", " ")
    )
