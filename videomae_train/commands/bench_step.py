"""`videomae bench step`: the training step on synthetic clips, beside transformers' model."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from videomae_train.benchmarks.measuring import StepComparison, StepOptions, compare_steps
from videomae_train.benchmarks.step import COLUMNS, cells, conditions, title, write_json


def run_bench_step(options: StepOptions, json_file: Path | None) -> None:
    """Measure all contenders in turn, print and write the figures.

    Raises:
        TrainingError: Our model and transformers' compute different losses with the same weights.
    """
    console = Console()
    comparison = compare_steps(options)
    console.print(_table(comparison))
    console.print(_absent(comparison) + conditions(comparison), highlight=False, soft_wrap=True)
    if json_file is not None:
        write_json(comparison, json_file)


def _table(comparison: StepComparison) -> Table:
    # Fits 80 columns; only the names of compiled rows may wrap.
    table = Table(
        title=title(comparison), title_justify="left", box=None, padding=(0, 1, 0, 0), pad_edge=False
    )
    for name in COLUMNS:
        is_name = name == COLUMNS[0]
        table.add_column(name, justify="left" if is_name else "right", no_wrap=not is_name)
    for row in comparison.rows:
        if row.missing is None:
            table.add_row(*cells(row))
    return table


def _absent(comparison: StepComparison) -> str:
    return "".join(f"{row.name}: {row.missing}.\n" for row in comparison.rows if row.missing is not None)
