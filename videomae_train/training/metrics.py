"""What a run recorded, read back from its CSV files."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Curve(NamedTuple):
    """One metric of a run.

    Attributes:
        steps: int64 (n,), optimizer steps, ascending, each once.
        values: float64 (n,); a report may hold NaN.
    """

    steps: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Records:
    """Everything that a run reported.

    Attributes:
        curves: Metric -> its curve, such as train/loss.
        num_attempts: Attempts that reported.
        num_broken: Rows that make no sense, and are left out; half a row that a kill has left is none of them.
    """

    curves: Mapping[str, Curve]
    num_attempts: int
    num_broken: int


def read_records(run: Path) -> Records:
    """Read all metrics of a run over all its attempts.

    Every attempt of a resumed run has a file of its own; where two attempts report the same step, the later counts.

    Args:
        run: The run's folder; one without records gives none.
    """
    values: dict[str, dict[int, float]] = {}
    files = sorted((run / "logs").glob("version_*/metrics.csv"), key=_attempt)
    num_broken = 0
    for file in files:
        for row in _whole_rows(file):
            numbers = _numbers(row)
            if numbers is None:
                num_broken += 1
                continue
            step = int(numbers.pop("step"))
            for name, number in numbers.items():
                values.setdefault(name, {})[step] = number
    curves = {name: _curve(points) for name, points in values.items() if name != "epoch"}
    return Records(curves, len(files), num_broken)


def _whole_rows(file: Path) -> list[dict[str, str]]:
    """Read a file without half a row that a kill has left at its end."""
    text = file.read_text(encoding="utf-8", errors="replace")
    return list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))


def _numbers(row: Mapping[str, str]) -> dict[str, float] | None:
    """Turn a row into numbers, without its empty cells; None where it has too few cells, or no numbers or step."""
    try:
        numbers = {name: float(cell) for name, cell in row.items() if cell != ""}
    except (ValueError, TypeError):
        return None
    return numbers if numbers.get("step", 0.5).is_integer() else None


def _attempt(file: Path) -> int:
    return int(file.parent.name.removeprefix("version_"))


def _curve(points: Mapping[int, float]) -> Curve:
    steps = sorted(points)
    return Curve(np.array(steps, np.int64), np.array([points[step] for step in steps]))
