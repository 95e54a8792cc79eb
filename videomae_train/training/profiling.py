"""A profile of a few optimizer steps, where a run asks for one: a trace that a browser shows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.profilers import Profiler
from torch.profiler import ProfilerActivity, profile, record_function

from videomae_train.training.module import SteppingModule

_WARM_UP_STEPS = 3
# The ends of Lightning's names for what it does between our steps.
_LIGHTNING = {".train_dataloader_next": "load", ".batch_to_device": "transfer"}


class StepProfile(pl.Callback):
    """Profiles some steps of an attempt, past the first few, and writes a trace of Chrome's format.

    Its labels: load waits for the next micro-batch; transfer takes it to the device and crops there; loss holds
    normalise, encoder and decoder, which compiled code does not show; then backward; optimiser measures, clips and
    steps. Labels are put on for these steps and taken off after them, so that other steps cost nothing. Rank 0 only.

    Args:
        folder: Where the file goes.
        num_steps: How many optimizer steps; fewer where the run ends before.
        is_compiled: Whether model and loss are one compiled graph.
    """

    def __init__(self, folder: Path, num_steps: int, *, is_compiled: bool) -> None:
        self._folder, self._num_steps, self._is_compiled = folder, num_steps, is_compiled
        self._starts_after: int | None = None
        self._running = ExitStack()
        self._profile: profile | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count from where the run goes on."""
        assert isinstance(pl_module, SteppingModule)
        if trainer.is_global_zero:
            self._starts_after = pl_module.step + _WARM_UP_STEPS

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Begin before the first of the steps, and end after the last."""
        assert isinstance(pl_module, SteppingModule)
        if self._starts_after is None or not pl_module.at_step_boundary:
            return
        if pl_module.step == self._starts_after:
            self._begin(trainer, pl_module)
        elif pl_module.step == self._starts_after + self._num_steps:
            self._end(pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write what there is, where the run ended first."""
        assert isinstance(pl_module, SteppingModule)
        self._end(pl_module)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Take the labels off."""
        self._running.close()
        self._profile = None

    def _begin(self, trainer: pl.Trainer, module: SteppingModule) -> None:
        self._running.enter_context(_LoopLabels(trainer))
        for label, owner, method in _labelled_calls(module, self._is_compiled):
            self._running.enter_context(_Labelled(owner, method, label))
        gpu = [ProfilerActivity.CUDA] if module.device.type == "cuda" else []
        self._profile = self._running.enter_context(profile(activities=[ProfilerActivity.CPU, *gpu]))

    def _end(self, module: SteppingModule) -> None:
        if self._profile is None:
            return
        if module.device.type == "cuda":
            torch.cuda.synchronize(module.device)
        self._running.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        assert self._starts_after is not None
        file = self._folder / f"steps-{self._starts_after + 1:08d}-{module.step:08d}.json"
        self._profile.export_chrome_trace(str(file))
        self._profile = None
        print(f"profile: {file}; https://ui.perfetto.dev or chrome://tracing shows it", file=sys.stderr)


def _labelled_calls(module: SteppingModule, is_compiled: bool) -> list[tuple[str, object, str]]:
    """List the calls that carry a label, as label, object and name of its method."""
    model = module.model
    calls = [(label, owner, method) for label, (owner, method) in module.stages().items()]
    if is_compiled:
        return calls  # another method inside the graph would compile it anew
    embed = model.encoder.patch_embed
    calls += [("normalise", embed, "normalise"), ("normalise", embed, "normalise_clips")]
    calls.append(("encoder", model.encoder, "forward"))
    if hasattr(model, "decode"):
        calls.append(("decoder", model, "decode"))
    return calls


class _Labelled:
    """Puts a label on the calls of one object's method, inside a block."""

    def __init__(self, owner: object, method: str, label: str) -> None:
        self._owner, self._method, self._label = owner, method, label

    def __enter__(self) -> None:
        call: Callable[..., Any] = getattr(self._owner, self._method)
        label = self._label

        def labelled(*arguments: Any, **named: Any) -> Any:
            with record_function(label):
                return call(*arguments, **named)

        # On the object, before its class: `nn.Module` keeps plain attributes there too.
        vars(self._owner)[self._method] = labelled

    def __exit__(self, *exception: object) -> None:
        del vars(self._owner)[self._method]


class _LoopLabels(Profiler):
    """Labels what Lightning does around the steps, inside a block; Lightning announces it to its profiler."""

    def __init__(self, trainer: pl.Trainer) -> None:
        super().__init__()
        self._trainer = trainer
        self._open: dict[str, record_function] = {}

    def __enter__(self) -> None:
        self._before = self._trainer.profiler  # pyright: ignore[reportAttributeAccessIssue]
        self._trainer.profiler = self  # pyright: ignore[reportAttributeAccessIssue]

    def __exit__(self, *exception: object) -> None:
        self._trainer.profiler = self._before  # pyright: ignore[reportAttributeAccessIssue]

    def start(self, action_name: str) -> None:
        label = next((label for end, label in _LIGHTNING.items() if action_name.endswith(end)), None)
        if label is not None:
            self._open[action_name] = record_function(label)
            self._open[action_name].__enter__()

    def stop(self, action_name: str) -> None:
        if action_name in self._open:
            self._open.pop(action_name).__exit__(None, None, None)
