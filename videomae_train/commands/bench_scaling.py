"""`videomae bench scaling`: how the time of a step grows with its arithmetic."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from videomae_train.benchmarks.scaling import Scaling, ScalingOptions, measure_scaling
from videomae_train.benchmarks.step import figure, spread_text


def run_bench_scaling(options: ScalingOptions, json_file: Path | None) -> None:
    """Measure all rows in turn, print and write the figures."""
    scaling, console = measure_scaling(options), Console()
    console.print(_table(scaling))
    for axis, words in scaling.verdicts().items():
        console.print(f"{axis}: {words}", highlight=False, soft_wrap=True)
    console.print(_conditions(scaling), highlight=False, soft_wrap=True)
    if json_file is not None:
        written = asdict(scaling) | {"verdicts": dict(scaling.verdicts())}
        json_file.write_text(json.dumps(written, indent=1) + "\n")


def _table(scaling: Scaling) -> Table:
    table = Table(
        title=f"Pretraining step, {scaling.options.size}, {scaling.options.precision}, {scaling.options.device}",
        title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False,
    )  # fmt: skip
    for name in ("axis", "value"):
        table.add_column(name)
    for name in ("ms", "GFLOP", "growth", "of expected"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in scaling.rows:
        table.add_row(
            row.axis,
            row.value,
            spread_text(row.step_ms),
            figure(row.flops / 1e9),
            f"{row.growth:.2f}",
            spread_text(row.of_expected),
        )
    return table


def _conditions(scaling: Scaling) -> str:
    return (
        f"{scaling.options.rounds} rounds in turn, {scaling.threads} threads; medians, quartiles in brackets. The base:"
        " clips x frames x side, 90 % hidden; each other row differs in one value. GFLOP: of a step, counted; growth:"
        " times the base's. of expected: the row's time over the base's times growth, round by round: 1 is linear,"
        " less is better. Ranks share the threads, each with the base's clips."
    )
