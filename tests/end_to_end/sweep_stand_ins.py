"""What tests of sweeps share: a chain of small stages, and processes that stand where a stage's would."""

import json
import sys
from pathlib import Path

from command_line import QUICK

from videomae_train.config.sweep_plan import Stage

LATER = [word for word in QUICK if not word.startswith("model.")]
FINETUNE = [
    "sweep.then=[finetune]",
    *(f"finetune.{word}" for word in LATER),
    "finetune.data.selection=split/train",
]
CHAIN = [
    *FINETUNE[1:], "sweep.then=[finetune,evaluate]",
    "evaluate.data.selection=split/test", "evaluate.data.num_clips=1", "evaluate.data.num_crops=1",
    "evaluate.loader.num_workers=0",
]  # fmt: skip


class StandIns:
    """Processes that end a stage at once; they write down who ran, and fail where their folder or a word says so."""

    def __init__(self, folder: Path) -> None:
        self.book = folder / "book.txt"
        self.failing = ""

    def command(self, stage: Stage) -> list[str]:
        leaves = "metrics.json" if stage.verb == "evaluate" else "run.json"
        program = f"""
import os, pathlib, sys
with open({str(self.book)!r}, "a") as book:
    book.write({f"{stage.verb} {stage.folder.parent.name}"!r} + "\\n")
if {self.failing != "" and self.failing in " ".join([str(stage.folder), *stage.words])!r}:
    sys.exit("Error: planted, expected nothing.")
folder = pathlib.Path({str(stage.folder)!r})
folder.mkdir(parents=True, exist_ok=True)
(folder / {leaves!r}).write_text('{{"top1": 0.5}}')
"""
        return [sys.executable, "-S", "-c", program]

    @property
    def ran(self) -> list[str]:
        return self.book.read_text().splitlines() if self.book.exists() else []


def summary(sweep: Path) -> dict[str, dict[str, object]]:
    return json.loads((sweep / "sweep.json").read_text())["points"]


def stage_of(folder: Path, verb: str = "pretrain") -> Stage:
    """Give a stage that nobody has planned."""
    return Stage(verb, "0123456789abcdef", folder / verb, ())
