"""What a run recorded, one metric at a time, and taken back with the steps that a resumed run repeats."""

from __future__ import annotations

import csv
from pathlib import Path

import pytorch_lightning as pl

from videomae_train.errors import ConfigError
from videomae_train.training.ledger import cut_ledger
from videomae_train.training.metrics import read_records
from videomae_train.training.module import SteppingModule

LEDGER = "ledger.csv"


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
    curve = read_records(run).curves.get(name)
    if curve is None:
        raise ConfigError(
            where=str(run / "logs"),
            came=f"no records of {name}",
            expected="metrics.csv of a run that reported at least once",
            todo="Check the path; a run reports every trainer.log_every_steps steps.",
        )
    return curve.steps.tolist(), curve.values.tolist()


class RecordCut(pl.Callback):
    """Takes back, when a run goes on, what it recorded past its checkpoint.

    Args:
        run: The run's folder.
    """

    def __init__(self, run: Path) -> None:
        self._run = run

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Cut, now that the step is known and before there are new records."""
        assert isinstance(pl_module, SteppingModule)
        if trainer.is_global_zero:
            cut_records(self._run, pl_module.step)


def cut_records(run: Path, last_step: int) -> None:
    """Take back what a run recorded past a step: an earlier attempt got further than its last checkpoint.

    Args:
        run: The run's folder.
        last_step: Step of the checkpoint that the run goes on from, 0 for the beginning.
    """
    for file in (run / "logs").glob("version_*/metrics.csv"):
        _cut_metrics(file, last_step)
    cut_ledger(run / LEDGER, last_step)


def _cut_metrics(file: Path, last_step: int) -> None:
    with file.open(newline="") as lines:
        reader = csv.DictReader(lines)
        # A kill may have left half a row, whose missing cells are None.
        rows = [row for row in reader if None not in row.values()]
        columns = reader.fieldnames or []
    unfinished = file.with_suffix(".unfinished")
    with unfinished.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, columns)
        writer.writeheader()
        writer.writerows(row for row in rows if int(row["step"]) <= last_step)
    unfinished.replace(file)
