"""What a run recorded, read back from its CSV files."""

from __future__ import annotations

import csv
from pathlib import Path

from videomae_train.errors import ConfigError


def read_metric(run: Path, name: str) -> tuple[list[int], list[float]]:
    """Read one metric of a run over all its attempts, in ascending order of steps.

    Every attempt of a resumed run has a file of its own; where two attempts report the same step, the later counts.

    Args:
        run: The run's folder.
        name: Such as train/loss.

    Returns:
        Steps and values, of equal length.

    Raises:
        ConfigError: The run has no such records.
    """
    values: dict[int, float] = {}
    for file in sorted((run / "logs").glob("version_*/metrics.csv"), key=_attempt):
        with file.open(newline="") as lines:
            for row in csv.DictReader(lines):
                if row.get(name):
                    values[int(row["step"])] = float(row[name])
    if not values:
        raise ConfigError(
            where=str(run / "logs"),
            came=f"no records of {name}",
            expected="metrics.csv of a run that reported at least once",
            todo="Check the path; a run reports every trainer.log_every_steps steps.",
        )
    steps = sorted(values)
    return steps, [values[step] for step in steps]


def _attempt(file: Path) -> int:
    return int(file.parent.name.removeprefix("version_"))
