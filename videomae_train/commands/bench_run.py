"""`videomae bench run`: a pretraining command for a short time, taken apart, with what it would take in whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.console import Console

from videomae_train.benchmarks.advice import Machine, MeasuredRun
from videomae_train.benchmarks.alternating import Rounds, in_turn
from videomae_train.benchmarks.prediction import Measured, predict
from videomae_train.benchmarks.whole_run import Clock
from videomae_train.commands.bench_run_report import RunReport, show_report
from videomae_train.commands.bench_setting import MeasuredSetting, bench_config
from videomae_train.config import build
from videomae_train.config.devices import with_workers
from videomae_train.config.schema import PretrainConfig
from videomae_train.config.steps import step_plan
from videomae_train.data.processors import num_processors
from videomae_train.errors import ConfigError
from videomae_train.training.accelerator import resolve_accelerator

_LONGEST_STEP = 4  # micro-batches of the second kind of step; long steps tell the parts apart, and take long


@dataclass(frozen=True)
class RunBenchOptions:
    """How long is measured.

    Attributes:
        rounds: Turns of every part.
        seconds: Of each part's turn, at the least one step.
        packing_videos: Videos encoded anew, to measure what another packing would bring; 0 for none.
    """

    rounds: int
    seconds: float
    packing_videos: int


def run_bench_run(overrides: Sequence[str], options: RunBenchOptions, json_file: Path | None) -> None:
    """Measure what a pretraining command would do on this machine, print it and write it.

    Raises:
        ConfigError: The command would be refused, or leaves the micro-batch to a search.
        VideoMAETrainError: It would fail.
    """
    report = measure_run(overrides, options)
    show_report(report, Console())
    if json_file is not None:
        json_file.write_text(json.dumps(asdict(report) | {"verdict": report.run.verdict}, indent=1) + "\n")


def measure_run(overrides: Sequence[str], options: RunBenchOptions) -> RunReport:
    """Measure what a pretraining command would do; raises as `run_bench_run`."""
    asked = _with_micro_batch(bench_config(overrides))
    plan = step_plan(asked, len(build.pretrain_data(asked).selection))
    longer = min(max(plan.accumulation, 2), _LONGEST_STEP)
    with TemporaryDirectory(prefix="videomae-bench-") as folder:
        short = MeasuredSetting(overrides, Path(folder), micro_batches=1)
        long = MeasuredSetting(overrides, Path(folder), micro_batches=longer)
        fixed, save = short.start_and_end()
        timings, waiting = _in_turn(short, long, options)
    # Ranks on one processor share it; ranks on GPUs have one each.
    share = plan.world_size if short.device.type == "cpu" else 1
    steps = {name: (share * timings.seconds[name]).tolist() for name in ("both", "long")}
    return RunReport(
        run=_parts(asked, short, timings, waiting, options.packing_videos),
        prediction=predict(
            Measured(steps["both"], steps["long"], longer, fixed, save),
            steps=plan.total_steps,
            micro_batches=plan.accumulation,
            save_every=(asked.trainer.checkpoint_every_steps, asked.trainer.checkpoint_every_minutes),
        ),
        seconds={name: values.tolist() for name, values in timings.seconds.items()},
        clips=short.clips,
        micro_batch=short.micro_batch,
        long_micro_batches=longer,
        rounds=options.rounds,
        ranks=plan.world_size,
        device=short.device.type,
    )


def _with_micro_batch(config: PretrainConfig) -> PretrainConfig:
    if config.trainer.micro_batch == "auto":
        raise ConfigError(
            where="trainer.micro_batch",
            came="auto",
            expected="a number, whose speed is measured",
            todo="Give the number that a run with auto prints, or several in turn.",
        )
    return config


def _parts(
    config: PretrainConfig, short: MeasuredSetting, timings: Rounds, waiting: float, packing_videos: int
) -> MeasuredRun:
    rates = {name: short.clips / timings.spread(name).median for name in ("loader", "step", "both")}
    return MeasuredRun(
        machine=_machine(config),
        views=config.data.views,
        **rates,
        waiting=waiting,
        stages=short.stages(),
        packings=short.packings(packing_videos),
    )


def _in_turn(short: MeasuredSetting, long: MeasuredSetting, options: RunBenchOptions) -> tuple[Rounds, float]:
    clocks: list[Clock] = []

    def together(setting: MeasuredSetting, number: int) -> float:
        clock = setting.fit(options.seconds)
        if setting is short:
            clocks.append(clock)
        return clock.step_sec

    contenders: dict[str, Callable[[int], float]] = {
        "loader": lambda number: short.load(options.seconds),
        "bare": lambda number: short.bare(options.seconds),
        "step": lambda number: short.fit(options.seconds, held=True).step_sec,
        "both": partial(together, short),
        "long": partial(together, long),
    }
    timings = in_turn(contenders, options.rounds)
    return timings, sum(clock.waited for clock in clocks) / sum(clock.seconds for clock in clocks)


def _machine(config: PretrainConfig) -> Machine:
    has_gpu = resolve_accelerator(config.trainer) == "gpu"
    threads = 1 if has_gpu else torch.get_num_threads()
    workers = with_workers(config.loader, config.trainer.devices).workers
    return Machine(num_processors(), threads, workers, has_gpu)
