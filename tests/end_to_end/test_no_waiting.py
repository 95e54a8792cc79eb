"""Between two reports nothing in a run looks at a tensor's value: the loop, every callback, Lightning and all."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import QUICK, SMALL, videomae
from torch.utils._python_dispatch import TorchDispatchMode

from videomae_train.training.ledger import Ledger
from videomae_train.training.module import SteppingModule

# What reads values, and so waits where the tensor lies on a GPU.
LOOKS = ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__", "nonzero")


class Values(TorchDispatchMode):
    """Notes the looks of code that is not Python's."""

    def __init__(self, seen: dict[int, list[str]], step: list[int]) -> None:
        super().__init__()
        self._seen, self._step = seen, step

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero):
            self._seen[self._step[0]].append(str(func))
        return func(*args, **(kwargs or {}))


def looks_of_a_run(packed: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> dict[int, list[str]]:
    """Run 12 steps with reports at 4, 8 and 12: looks by the step that was begun last."""
    seen: dict[int, list[str]] = defaultdict(list)
    step = [-1]
    own_step = SteppingModule.training_step

    def training_step(self: SteppingModule, batch: Any, batch_idx: int) -> None:
        step[0] = self.step
        with Values(seen, step):
            own_step(self, batch, batch_idx)

    monkeypatch.setattr(SteppingModule, "training_step", training_step)
    for name in LOOKS:
        monkeypatch.setattr(torch.Tensor, name, _noting(getattr(torch.Tensor, name), name, seen, step))
    # In a worker, so that what this process looks at is not the making of clips.
    command = [*SMALL, *QUICK, f"data.path={packed}", f"run={run}", "optim.steps=12", "loader.num_workers=1"]
    assert videomae("pretrain", *command, "trainer.log_every_steps=4") == 0
    return seen


def _noting(own: Any, name: str, seen: dict[int, list[str]], step: list[int]) -> Any:
    def look(self: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        seen[step[0]].append(name)
        return own(self, *arguments, **named)

    return look


def test_run__looks_at_no_value_between_reports(
    packed_motions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = looks_of_a_run(packed_motions, tmp_path / "run", monkeypatch)
    assert seen[7], "the report of step 8 looks at the loss"
    # Step 4's own report is done when step 5, the fifth, begins.
    assert {step: seen[step] for step in (4, 5, 6)} == {4: [], 5: [], 6: []}


def test_ledger_that_read_every_step__would_be_found(
    packed_motions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check on the check."""
    monkeypatch.setattr(Ledger, "_write", lambda self: [ids.tolist() for ids in self._steps.values()])
    own_end = Ledger.on_train_batch_end

    def eager(self: Ledger, *arguments: Any) -> None:
        own_end(self, *arguments)
        self._write()

    monkeypatch.setattr(Ledger, "on_train_batch_end", eager)
    assert looks_of_a_run(packed_motions, tmp_path / "run", monkeypatch)[5]
