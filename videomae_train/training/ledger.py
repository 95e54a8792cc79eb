"""The ledger of a run: which samples each optimizer step took, to show that a resumed run took the same."""

from __future__ import annotations

import os
from hashlib import blake2b
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from videomae_train.training.agreement import Agreement
from videomae_train.training.module import SteppingModule
from videomae_train.training.options import LedgerKind

_HEADER = "step,samples\n"


class Ledger(pl.Callback):
    """Writes one line for each optimizer step: its number, and the samples of all ranks in their order.

    The line does not depend on how many ranks or micro-batches the samples came in. Samples are those really used: a
    video that could not be read stands there as its replacement. Ids stay where the batch was until the next report or
    checkpoint, so that no step waits for them.

    Args:
        path: The file.
        agreement: Between the ranks.
        every_steps: Optimizer steps between two writes; a checkpoint writes too.
        kind: hash writes 16 hexadecimal digits a step, ids the ids themselves, with spaces between.
    """

    def __init__(self, path: Path, agreement: Agreement, *, every_steps: int, kind: LedgerKind) -> None:
        self._path, self._agreement, self._every_steps, self._kind = path, agreement, every_steps, kind
        self._parts: list[Tensor] = []  # of the step that is under way
        self._steps: dict[int, Tensor] = {}  # finished, not yet written; this rank's share

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the samples of a micro-batch."""
        assert isinstance(pl_module, SteppingModule)
        views = len(batch.sample_ids) // pl_module.plan.micro_batch
        self._parts.append(batch.sample_ids[::views])
        if not pl_module.at_step_boundary:
            return
        self._steps[pl_module.step] = torch.cat(self._parts)
        self._parts = []
        if pl_module.step % self._every_steps == 0:
            self._write()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Bring the file up to the checkpoint, from which a resumed run will go on writing; collective."""
        self._write()

    def _write(self) -> None:
        if not self._steps:
            return  # on every rank alike
        steps, mine = list(self._steps), torch.stack(list(self._steps.values())).cpu().numpy()
        self._steps = {}
        samples = np.concatenate(self._agreement.gather(mine), axis=1)
        lines = [self._line(step, ids) for step, ids in zip(steps, samples, strict=True)]
        self._agreement.by_first(lambda: _append(self._path, "".join(lines)))

    def _line(self, step: int, ids: np.ndarray) -> str:
        return f"{step},{hash_samples(ids) if self._kind == 'hash' else ' '.join(map(str, ids))}\n"


def hash_samples(ids: np.ndarray) -> str:
    """Condense the samples of a step, in their order, to 16 hexadecimal digits."""
    return blake2b(ids.astype("<i8").tobytes(), digest_size=8).hexdigest()


def read_ledger(path: Path) -> dict[int, str]:
    """Read a ledger: step -> its samples, condensed or in full as they were written."""
    lines = path.read_text().splitlines()[1:] if path.is_file() else []
    return {int(step): samples for step, _, samples in (line.partition(",") for line in lines)}


def cut_ledger(path: Path, last_step: int) -> None:
    """Take back the lines past a step, and half a line that a kill has left."""
    if not path.is_file():
        return
    kept = takewhile(lambda line: int(line.partition(",")[0]) <= last_step, _whole_lines(path))
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(_HEADER + "".join(kept))
    unfinished.replace(path)


def _whole_lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines(keepends=True)[1:] if line.endswith("\n")]


def _append(path: Path, text: str) -> None:
    with path.open("a") as file:
        if file.tell() == 0:
            file.write(_HEADER)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
