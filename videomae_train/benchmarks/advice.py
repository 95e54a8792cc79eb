"""What bounds a run, and what would lift the bound: arithmetic on measured parts, and words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from videomae_train.benchmarks.straightforward import StageSeconds

WAITING_BOUND = 0.1
"""Share of waiting from which on a run is called data-bound."""

_MOST_VIEWS = 16
# A change that brings less is not worth a sentence.
_LEAST_GAIN = 1.1


@dataclass(frozen=True)
class Machine:
    """What loading and computing share.

    Attributes:
        cores: Processor cores of this process.
        threads: Of these, used by the step: PyTorch's threads on a CPU, one beside a GPU.
        workers: Processes that load; 0 where the main process does.
        has_gpu: Whether the step computes elsewhere.
    """

    cores: int
    threads: int
    workers: int
    has_gpu: bool


@dataclass(frozen=True)
class MeasuredRun:
    """What was measured, in clips per second where nothing else is said.

    Attributes:
        machine: Where.
        views: Clips of each decoded window.
        loader: The loader alone.
        step: The whole step with its batch at hand.
        both: As they run together.
        waiting: Share of the time that the step waits, in [0, 1].
        stages: Processor seconds of one video with all its views.
        packings: How else the videos could be packed -> processor seconds of decoding one.
    """

    machine: Machine
    views: int
    loader: float
    step: float
    both: float
    waiting: float
    stages: StageSeconds
    packings: Mapping[str, float]

    @property
    def verdict(self) -> Literal["data-bound", "compute-bound"]:
        """What the run waits for."""
        return "data-bound" if self.waiting >= WAITING_BOUND else "compute-bound"


def expected_rate(
    run: MeasuredRun,
    *,
    workers: int | None = None,
    views: int | None = None,
    decode: float | None = None,
    transform: float | None = None,
) -> float:
    """Compute how many clips a second the run would take with another loader.

    The loader's rate follows from a video's stages and from how well the workers did against them. Where workers and
    step have cores of their own, the slower of the two decides; where they share them, a clip costs both in turn.

    Args:
        run: What was measured.
        workers: Processes.
        views: Clips of each window.
        decode: Processor seconds of decoding a video.
        transform: Processor seconds of one view's crops and mask.
    """
    machine, stages = run.machine, run.stages
    views = run.views if views is None else views
    workers = machine.workers if workers is None else workers
    of_a_view = stages.transform / run.views if transform is None else transform
    video = stages.read + (stages.decode if decode is None else decode) + views * of_a_view
    of_a_core = views / video
    did = run.loader / (min(max(machine.workers, 1), machine.cores) * run.views / stages.total)
    loader = did * min(max(workers, 1), machine.cores) * of_a_core
    if 0 < workers <= machine.cores - machine.threads:
        return min(run.step, loader)
    return min(loader, 1 / (1 / run.step + 1 / (machine.cores * of_a_core)))


def advise(run: MeasuredRun) -> list[str]:
    """Say what would make the run faster, each as one sentence with the rate it would come to."""
    now = expected_rate(run)
    return [
        f"{words}: about {run.both * rate / now:.3g} clips/s instead of {run.both:.3g}."
        for words, rate in _levers(run)
        if rate >= _LEAST_GAIN * now
    ]


def _levers(run: MeasuredRun) -> list[tuple[str, float]]:
    levers: list[tuple[str, float]] = []
    workers = workers_to_keep_up(run)
    if workers is not None:
        levers.append((f"loader.num_workers={workers}", expected_rate(run, workers=workers)))
    views = views_to_keep_up(run)
    if views is not None:
        words = f"data.views={views} (more clips of fewer videos in a step, which is another recipe)"
        levers.append((words, expected_rate(run, views=views)))
    if run.machine.has_gpu:
        words = "data.crop_on=device, if the GPU crops in no time"
        levers.append((words, expected_rate(run, transform=0.0)))
    levers += [(words, expected_rate(run, decode=decode)) for words, decode in run.packings.items()]
    return levers


def workers_to_keep_up(run: MeasuredRun) -> int | None:
    """Count the workers that would give what the step takes; None where the cores do not suffice or no more help."""
    machine = run.machine
    wanted = math.ceil(run.step / (run.loader / max(machine.workers, 1)))
    fits = wanted <= machine.cores - machine.threads
    return wanted if fits and wanted > machine.workers else None


def views_to_keep_up(run: MeasuredRun) -> int | None:
    """Find the fewest views of a window that give at least 95 % of what any number gives; None where one more does not
    help.
    """
    rates = {views: expected_rate(run, views=views) for views in range(run.views, _MOST_VIEWS + 1)}
    enough = 0.95 * max(rates.values())
    found = next(views for views, rate in rates.items() if rate >= enough)
    return found if found > run.views else None
