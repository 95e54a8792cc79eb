"""Twenty seeded steps in float64 on one thread. A change of these numbers is a change of training: say why.

To write them anew after such a change: python tests/training/test_golden_losses.py
"""

import tempfile
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from stepping import Batches, fit, make_module

GOLDEN = Path(__file__).parent.parent / "golden" / "pretrain_losses.txt"
NUM_STEPS = 20


class Recorder(pl.Callback):
    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        self.losses.append(pl_module.latest["train/loss"])  # type: ignore[union-attr, index]


def losses(folder: Path) -> list[float]:
    torch.set_num_threads(1)
    module = make_module(4, total=NUM_STEPS)
    recorder = Recorder()
    fit(module, Batches(0, 4), folder, until=NUM_STEPS, also=[recorder])
    return recorder.losses


def test_golden_losses__are_what_they_were(tmp_path: Path) -> None:
    np.testing.assert_allclose(losses(tmp_path), np.loadtxt(GOLDEN), rtol=1e-9)


if __name__ == "__main__":
    GOLDEN.write_text("".join(f"{loss:.15e}\n" for loss in losses(Path(tempfile.mkdtemp()))))
