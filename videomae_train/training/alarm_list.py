"""Alarms of a run that is going on: told once, counted in its records, kept in its folder."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from videomae_train.model import VideoMAEForPreTraining
from videomae_train.training.alarms import Alarm, Expected, Report, check_hidden, check_visible, find_alarms
from videomae_train.training.leaks import encoder_sees_hidden_pixels
from videomae_train.training.module import SteppingModule
from videomae_train.types import PatchGrid, PretrainBatch


class AlarmList(pl.Callback):
    """Says each alarm once on the terminal, writes alarms.json, and adds train/num_alarms to the reports.

    Args:
        path: The file, a JSON list with one object an alarm; not there without one.
        expected: What reports are judged by.
        grid: Patch grid of a clip; None where nothing is masked, and so is
        num_visible: Tokens of each clip that the recipe's mask leaves visible.
    """

    def __init__(
        self, path: Path, expected: Expected, *, grid: PatchGrid | None = None, num_visible: int | None = None
    ) -> None:
        self._path, self._expected = path, expected
        self._grid, self._num_visible = grid, num_visible
        self._raised: dict[str, Alarm] = {}
        self._reports: deque[Report] = deque(maxlen=expected.options.reports)
        self._is_first_batch = self._is_first_report = True
        self._writes = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take up what an earlier attempt has said, without what it met past its checkpoint."""
        assert isinstance(pl_module, SteppingModule)
        self._writes = trainer.is_global_zero
        if self._path.exists():
            earlier = [Alarm(**fields) for fields in json.loads(self._path.read_text())]
            self._raised = {alarm.name: alarm for alarm in earlier if alarm.step <= pl_module.step}
            self._write()
        pl_module.companions.append(self._hear)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Compare the first masks with what the recipe promises, and what the model makes of them."""
        assert isinstance(pl_module, SteppingModule)
        if not self._is_first_batch or self._grid is None or self._num_visible is None:
            return
        self._is_first_batch = False
        assert isinstance(batch, PretrainBatch)
        assert isinstance(pl_module.model, VideoMAEForPreTraining)
        with pl_module.aside():
            is_seen = encoder_sees_hidden_pixels(pl_module.model, batch)
        visible = batch.visible_idx.shape[1]
        by_number = check_visible(pl_module.step, visible, self._num_visible, self._grid.num_tokens)
        for alarm in (by_number, check_hidden(pl_module.step, is_seen)):
            if alarm is not None:
                self._raise(alarm)

    def _hear(self, step: int, figures: Mapping[str, float]) -> Mapping[str, float]:
        names = (name for name in Report._fields if name != "step")
        report = Report(step, **{name: figures[f"train/{name}"] for name in names})
        if self._is_first_report:
            self._is_first_report = False
        else:
            self._reports.append(report)
        for alarm in find_alarms(list(self._reports), self._expected):
            self._raise(alarm)
        return {"train/num_alarms": len(self._raised)}

    def _raise(self, alarm: Alarm) -> None:
        if alarm.name in self._raised:
            return
        self._raised[alarm.name] = alarm
        if self._writes:
            print(f"ALARM {alarm.name}, step {alarm.step}: {alarm.words}. {alarm.todo}", file=sys.stderr)
            self._write()

    def _write(self) -> None:
        if self._writes:
            unfinished = self._path.with_suffix(".unfinished")
            unfinished.write_text(json.dumps([alarm._asdict() for alarm in self._raised.values()], indent=1))
            unfinished.replace(self._path)
