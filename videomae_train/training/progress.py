"""What a run shows and writes while it goes: a progress line and the list of faults."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from videomae_train.training.module import SteppingModule

# What needs no model, by its name in records.
BASELINES = {
    "baseline/predict_mean": "predicting the mean",
    "baseline/copy_nearest": "copying the nearest visible patch",
}
_SECONDS_BETWEEN_PLAIN_LINES = 20.0


class _BarAndFigures(Progress):
    """A bar with the latest report below it, where a narrow terminal wraps it instead of cutting it off."""

    figures = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        yield Text(self.figures)


class StepProgress(pl.Callback):
    """A progress bar over optimizer steps on rank 0; plain lines now and then where the output is not a terminal.

    Args:
        title: Shown in front of the bar.
        console: Where to show it; None takes the standard error output.
    """

    def __init__(self, title: str, console: Console | None = None) -> None:
        self._title = title
        self._console = console or Console(file=sys.stderr)
        self._bar: _BarAndFigures | None = None
        self._task: TaskID | None = None
        self._printed_at = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar where there is a terminal."""
        assert isinstance(pl_module, SteppingModule)
        if trainer.is_global_zero and self._console.is_terminal:
            self._bar = _BarAndFigures(
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._bar.start()
            self._task = self._bar.add_task(
                self._title, total=pl_module.plan.total_steps, completed=pl_module.step
            )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar on at the end of an optimizer step."""
        assert isinstance(pl_module, SteppingModule)
        if not (trainer.is_global_zero and pl_module.at_step_boundary):
            return
        if self._bar is not None and self._task is not None:
            self._bar.figures = _figures(pl_module)
            self._bar.update(self._task, completed=pl_module.step)
        elif pl_module.latest and time.monotonic() - self._printed_at > _SECONDS_BETWEEN_PLAIN_LINES:
            self._printed_at = time.monotonic()
            total = pl_module.plan.total_steps
            self._console.print(
                f"{self._title} {pl_module.step}/{total} {_figures(pl_module)}",
                highlight=False,
                soft_wrap=True,
            )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the bar as it stands."""
        self._stop()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Give the terminal back before the error is printed."""
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _figures(module: SteppingModule) -> str:
    latest = module.latest
    if not latest:
        return ""
    beside = ", ".join(f"{words} {latest[name]:.3f}" for name, words in BASELINES.items() if name in latest)
    counted = "".join(
        f" · {latest[f'train/num_{name}']:.0f} {name}"
        for name in ("faults", "skipped", "alarms")
        if latest.get(f"train/num_{name}")
    )
    return (
        f"loss {latest['train/loss']:.4f}{f' ({beside})' if beside else ''} · lr {latest['train/lr']:.2e}"
        f" · gradient {latest['train/grad_norm']:.2g} · {latest['train/views_per_sec']:.1f} views/s"
        f" · waiting for data {latest['train/data_wait_ratio']:.0%} · {latest['train/tflops_per_sec']:.2g} TFLOP/s,"
        f" {latest['train/peak_ratio']:.0%} of the peak · {latest['train/memory_gib']:.1f} GiB{counted}"
    )


class Baselines(pl.Callback):
    """Records the losses that need no model beside the loss of every report, and says them at the start.

    Args:
        losses: By their names in records, such as baseline/predict_mean.
    """

    def __init__(self, losses: Mapping[str, float]) -> None:
        self._losses = losses

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say them."""
        assert isinstance(pl_module, SteppingModule)
        pl_module.companions.append(lambda step, figures: self._losses)
        if trainer.is_global_zero:
            words = ", ".join(f"{BASELINES[name]} {loss:.4f}" for name, loss in self._losses.items())
            print(f"Losses without a model: {words}.", file=sys.stderr)


class FaultList(pl.Callback):
    """Keep faults.json of the run up to date and name each new fault once.

    Args:
        path: The file, a JSON list with one object a fault.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._named = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Pass by what an earlier attempt has named, and take back what it met past its checkpoint."""
        assert isinstance(pl_module, SteppingModule)
        self._named = len(pl_module.faults)
        if trainer.is_global_zero and (self._path.exists() or pl_module.faults):
            self._write(pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write what is new."""
        self._write_new(trainer, pl_module)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write what the last save has gathered, which comes after this callback's turn, in `on_train_end` too."""
        self._write_new(trainer, pl_module)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Write what is new before the run ends."""
        self._write_new(trainer, pl_module)

    def _write_new(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, SteppingModule)
        if trainer.is_global_zero and len(module.faults) > self._named:
            self._write(module)

    def _write(self, module: SteppingModule) -> None:
        for fault in module.faults[self._named :]:
            print(
                f"unreadable, replaced: {fault.key} in {fault.shard}: {fault.cause} ({fault.detail})",
                file=sys.stderr,
            )
        self._named = len(module.faults)
        unfinished = self._path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps([fault._asdict() for fault in module.faults], indent=1))
        unfinished.replace(self._path)
