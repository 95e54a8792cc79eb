"""Training steps timed in turn, with their arithmetic and their memory."""

from __future__ import annotations

import multiprocessing
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from importlib import import_module

import torch

from videomae_train.benchmarks.alternating import Rounds, Spread, in_turn
from videomae_train.benchmarks.contenders import (
    Contender,
    Kind,
    flops_per_clip,
    loss_difference,
    synthetic_batch,
    training_step,
    transformers_missing,
)
from videomae_train.benchmarks.memory import MemoryGrowth, can_measure
from videomae_train.benchmarks.sizes import SIZES
from videomae_train.errors import TrainingError
from videomae_train.evaluation.number_format import PrecisionName
from videomae_train.training.speed import matmul_peak

AGREEMENT = 1e-4
_STEPS_A_TURN = {"cpu": 1, "cuda": 10}
_WARM_UP_STEPS = 2


@dataclass(frozen=True)
class StepOptions:
    """What is measured.

    Attributes:
        size: A key of `SIZES`.
        batch: Clips of a step.
        rounds: Turns of every contender; at least 1.
        kinds: Models.
        precisions: Formats, each with each kind.
        compile: Measure compiled steps beside the eager ones.
        device: "cpu" or "cuda".
        memory: Measure peak memory too, in a fresh process for each contender.
    """

    size: str
    batch: int
    rounds: int
    kinds: tuple[Kind, ...]
    precisions: tuple[PrecisionName, ...]
    compile: bool
    device: str
    memory: bool

    def contenders(self) -> list[Contender]:
        """List the rows: each model in each format, eager and compiled."""
        modes = (False, True) if self.compile else (False,)
        return [Contender(k, p, mode) for p in self.precisions for mode in modes for k in self.kinds]


@dataclass(frozen=True)
class StepReport:
    """One contender, measured.

    Attributes:
        name: Of the row.
        kind: As in `Contender`, like precision and compile.
        precision: Format.
        compile: Whether compiled.
        missing: Why there are no figures; None where there are.
        step_ms: Milliseconds of a step.
        clips_per_sec: Clips a second.
        times_transformers: Times the speed of transformers in the same format and mode, round by round.
        peak_memory_gib: The most memory of model, optimiser, batch and step: tensors on a GPU, resident memory of
            the process on a CPU (Linux only; with --compile the compiler's too).
        flops_per_clip: Counted, forward and backward.
        flops_per_sec: At the median.
        share_of_peak: Of the matrix product's operations per second, measured in the same format.
    """

    name: str
    kind: Kind
    precision: PrecisionName
    compile: bool
    missing: str | None = None
    step_ms: Spread | None = None
    clips_per_sec: Spread | None = None
    times_transformers: Spread | None = None
    peak_memory_gib: float | None = None
    flops_per_clip: int | None = None
    flops_per_sec: float | None = None
    share_of_peak: float | None = None


@dataclass(frozen=True)
class StepComparison:
    """All contenders, and under which conditions.

    Attributes:
        options: As asked for.
        device_name: Of the GPU or processor.
        torch_version: Of PyTorch.
        threads: PyTorch's, on the processor.
        steps_a_turn: Steps of a contender in each round, timed as one.
        loss_difference: Relative, of our joint model's loss and transformers' with the same weights in float32; None
            without transformers.
        matmul_peak: Operations per second of a large matrix product, by format.
        rows: One for each contender.
    """

    options: StepOptions
    device_name: str
    torch_version: str
    threads: int
    steps_a_turn: int
    loss_difference: float | None
    matmul_peak: Mapping[str, float]
    rows: Sequence[StepReport]


def compare_steps(options: StepOptions) -> StepComparison:
    """Measure all contenders in turn.

    Raises:
        TrainingError: Our model and transformers' do not compute the same loss with the same weights, so that the
            comparison would be none.
    """
    device = torch.device(options.device)
    missing = transformers_missing()
    rivals = "transformers" in options.kinds and missing is None
    difference = _checked_difference(options, device) if rivals else None
    peaks: dict[str, float] = {name: matmul_peak(device, name) for name in options.precisions}
    present = [c for c in options.contenders() if c.kind != "transformers" or rivals]
    figures = _measure(present, options, device, peaks)
    absent = {
        c.name: StepReport(c.name, c.kind, c.precision, c.compile, missing=missing)
        for c in options.contenders()
    }
    return StepComparison(
        options=options,
        device_name=_name_of(device),
        torch_version=str(torch.__version__),
        threads=torch.get_num_threads(),
        steps_a_turn=_STEPS_A_TURN[device.type],
        loss_difference=difference,
        matmul_peak=peaks,
        rows=list((absent | figures).values()),
    )


def _checked_difference(options: StepOptions, device: torch.device) -> float:
    config = SIZES[options.size]
    difference = loss_difference(config, synthetic_batch(config, "joint", options.batch, device))
    if not difference <= AGREEMENT:
        raise TrainingError(
            where="bench step",
            came=f"losses of the same weights, {difference:.1e} apart",
            expected=f"at most {AGREEMENT} between ours and transformers', in float32",
            todo="Report it with both versions; timings of different functions say nothing.",
        )
    return difference


def _measure(
    contenders: Sequence[Contender], options: StepOptions, device: torch.device, peaks: Mapping[str, float]
) -> dict[str, StepReport]:
    memory = {c.name: _peak_memory(c, options) for c in contenders} if options.memory else {}
    steps = {c.name: _warm_step(c, options) for c in contenders}
    rounds = in_turn({name: timed(step, device) for name, step in steps.items()}, options.rounds)
    flops = {c.kind: flops_per_clip(c.kind, SIZES[options.size]) for c in contenders}
    return {
        c.name: _report(c, rounds, options.batch, flops[c.kind], peaks[c.precision], memory.get(c.name))
        for c in contenders
    }


def _warm_step(contender: Contender, options: StepOptions) -> Callable[[], None]:
    device, config = torch.device(options.device), SIZES[options.size]
    step = training_step(contender, config, synthetic_batch(config, contender.kind, options.batch, device))
    for _ in range(_WARM_UP_STEPS):
        step()
    return step


def _peak_memory(contender: Contender, options: StepOptions) -> float | None:
    """Measure model, optimiser, batch and step in a process of their own, GiB."""
    if not can_measure(torch.device(options.device)):
        return None
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_growth, contender, options, torch.get_num_threads()).result()


def _growth(contender: Contender, options: StepOptions, threads: int) -> float:
    torch.set_num_threads(threads)
    if contender.kind == "transformers":
        import_module("transformers.models.videomae")  # its code is no memory of the step
    growth = MemoryGrowth(torch.device(options.device))
    _warm_step(contender, options)
    return growth.gib()


def timed(step: Callable[[], None], device: torch.device) -> Callable[[int], float]:
    """Make of a step what `in_turn` takes: its seconds, the mean of several on a GPU."""
    repeats = _STEPS_A_TURN[device.type]

    def seconds_of_a_step(number: int) -> float:
        _wait_for(device)
        began = time.perf_counter()
        for _ in range(repeats):
            step()
        _wait_for(device)
        return (time.perf_counter() - began) / repeats

    return seconds_of_a_step


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _report(
    contender: Contender, rounds: Rounds, batch: int, flops: int, peak: float, memory: float | None
) -> StepReport:
    seconds = rounds.seconds[contender.name]
    rival = replace(contender, kind="transformers").name
    flops_per_sec = flops * batch / rounds.spread(contender.name).median
    return StepReport(
        name=contender.name,
        kind=contender.kind,
        precision=contender.precision,
        compile=contender.compile,
        step_ms=Spread.of(seconds * 1000),
        clips_per_sec=Spread.of(batch / seconds),
        times_transformers=rounds.ratio(contender.name, rival) if rival in rounds.seconds else None,
        peak_memory_gib=memory,
        flops_per_clip=flops,
        flops_per_sec=flops_per_sec,
        share_of_peak=flops_per_sec / peak,
    )


def _name_of(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()
