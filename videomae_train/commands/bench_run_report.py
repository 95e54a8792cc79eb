"""The figures of `videomae bench run` as a table and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from videomae_train.benchmarks.advice import MeasuredRun, advise
from videomae_train.benchmarks.alternating import Spread
from videomae_train.benchmarks.prediction import Prediction, Range
from videomae_train.benchmarks.step import spread_text


@dataclass(frozen=True)
class RunReport:
    """A measured run.

    Attributes:
        run: Its parts.
        prediction: Of the whole experiment.
        seconds: Part -> seconds of a step in each round: loader (a micro-batch), bare, step, both, and long, the same
            with `long_micro_batches` a step.
        clips: Of a micro-batch.
        micro_batch: Videos of it.
        long_micro_batches: Micro-batches of the longer steps.
        rounds: Turns.
        ranks: Of the experiment; one was measured.
        device: cpu or cuda.
    """

    run: MeasuredRun
    prediction: Prediction
    seconds: Mapping[str, Sequence[float]]
    clips: int
    micro_batch: int
    long_micro_batches: int
    rounds: int
    ranks: int
    device: str

    @property
    def overhead_ms(self) -> Spread:
        """What a step takes in the whole loop beyond the bare one, round by round."""
        return Spread.of(1000 * (np.array(self.seconds["step"]) - np.array(self.seconds["bare"])))

    @property
    def overhead_ratio(self) -> Spread:
        """The same as a share of the bare step."""
        return Spread.of(np.array(self.seconds["step"]) / np.array(self.seconds["bare"]) - 1)


def show_report(report: RunReport, console: Console) -> None:
    """Print the table, the verdict, what would lift it and how long the experiment takes."""
    console.print(_table(report))
    for words in (_verdict(report.run), *advise(report.run), _stages(report.run), _overhead(report)):
        console.print(words, highlight=False, soft_wrap=True)
    console.print(prediction_text(report), highlight=False, soft_wrap=True)
    console.print(_conditions(report), highlight=False, soft_wrap=True)


def _table(report: RunReport) -> Table:
    workers = report.run.machine.workers
    names = {
        "loader": f"loader alone, {workers} workers" if workers else "loader alone, in the main process",
        "bare": "bare step, batch at hand",
        "step": "whole step, batch at hand",
        "both": "both together",
    }
    table = Table(
        title=f"Pretraining, micro-batch {report.micro_batch}, {report.device}",
        title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False,
    )  # fmt: skip
    table.add_column("part", no_wrap=True)
    for column in ("clips/s", "ms", "waiting"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, words in names.items():
        seconds = np.array(report.seconds[name])
        waiting = f"{report.run.waiting:.0%}" if name == "both" else ""
        table.add_row(
            words, spread_text(Spread.of(report.clips / seconds)), f"{np.median(seconds) * 1000:.1f}", waiting
        )
    return table


def _verdict(run: MeasuredRun) -> str:
    if run.verdict == "data-bound":
        return (
            f"Verdict: data-bound. The step waits {run.waiting:.0%} of the time; the loader alone gives"
            f" {run.loader:.3g} clips/s, the step takes {run.step:.3g}."
        )
    shared = ""
    if run.both < 0.9 * run.step:
        shared = f" Beside the loader the step runs at {run.both / run.step:.0%} of its own speed."
    return (
        f"Verdict: compute-bound. The step waits {run.waiting:.0%} of the time; the loader alone gives"
        f" {run.loader / run.step:.2g} times what the step takes.{shared}"
    )


def _stages(run: MeasuredRun) -> str:
    stages = run.stages
    packings = "".join(
        f" Packed by `{words}`, decoding takes {seconds * 1000:.1f} ms."
        for words, seconds in run.packings.items()
    )
    return (
        f"One video with its views ({run.views}) costs {stages.total * 1000:.1f} ms of a core: reading"
        f" {stages.read / stages.total:.0%}, decoding {stages.decode / stages.total:.0%}"
        f" ({stages.decode * 1000:.1f} ms), crops and masks {stages.transform / stages.total:.0%}.{packings}"
    )


def _overhead(report: RunReport) -> str:
    ms, ratio = report.overhead_ms, report.overhead_ratio
    return (
        f"The loop (Lightning, gate, records, alarms) adds {ms.median:.1f} ms to the bare step"
        f" ({ms.low:.1f} to {ms.high:.1f}), {ratio.median:.1%} ({ratio.low:.1%} to {ratio.high:.1%})."
    )


def prediction_text(report: RunReport) -> str:
    """Say how long the whole experiment takes."""
    whole, step = report.prediction.total_sec, report.prediction.step_sec
    ranks = ""
    if report.ranks > 1:
        each = "all on this processor" if report.device == "cpu" else "each with such a GPU"
        ranks = f" on {report.ranks} ranks, {each}, without what they send each other"
    return (
        f"The whole experiment{ranks}: {_duration(whole, _unit(whole.middle))} for {report.prediction.steps} steps"
        f" of {_duration(step, 's')}, with start, end and checkpoints."
    )


def _unit(seconds: float) -> str:
    return "h" if seconds >= 3600 else "min" if seconds >= 60 else "s"


def _duration(seconds: Range, unit: str) -> str:
    size = {"h": 3600, "min": 60, "s": 1}[unit]
    low, middle, high = (f"{value / size:.3g}" for value in (seconds.low, seconds.middle, seconds.high))
    return f"{middle} {unit} ({low} to {high})"


def _conditions(report: RunReport) -> str:
    machine = report.run.machine
    return (
        f"{report.rounds} rounds in turn on {machine.cores} cores; clips/s with quartiles. Bare: loss, gradients,"
        " clipping, optimiser. Whole: as `videomae pretrain` steps. The prediction is from steps of 1 and of"
        f" {report.long_micro_batches} micro-batches, the median and the extremes of the rounds; probes and pictures"
        " are not in it."
    )
