"""`videomae pretrain sweep=...` and `videomae pretrain -m ...`: the whole chain at every point, each stage once."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from videomae_train.commands.sweep_jobs import Job, missing
from videomae_train.commands.sweep_local import LocalRunner
from videomae_train.commands.sweep_places import known_arrays, known_places, refer_to_shared
from videomae_train.commands.sweep_record import SUMMARY, SweepRecord
from videomae_train.commands.sweep_slurm import check_earlier_arrays, run_on_slurm
from videomae_train.config.slurm_queue import check_slurm_answers
from videomae_train.config.sweep import Sweep, launcher_settings, read_sweep
from videomae_train.config.sweep_plan import SweepPlan, plan_sweep
from videomae_train.errors import ConfigError, TrainingError, VideoMAETrainError
from videomae_train.training.folder_lock import FolderLock
from videomae_train.training.preemption import exit_code_after
from videomae_train.training.starters import ranks_from_outside

_MANY = 10  # points, whose checks take seconds
_LISTED = 5  # of what is wrong, the same for many points as a rule


def run_sweep(arguments: Sequence[str]) -> None:
    """Run what is missing of a sweep, and say how every point stands.

    Args:
        arguments: What stood behind `videomae pretrain`.

    Raises:
        ConfigError: Some point cannot run; then none was started.
        TrainingError: Some points failed; the others ran to their end.
    """
    _refuse_ranks()
    sweep = read_sweep(arguments)
    new = [folder for folder in (sweep.folder, *sweep.folder.parents) if not folder.exists()]
    try:
        with FolderLock(sweep.folder):  # another sweep there would write over what this one knows of its runs
            _run_in_folder(sweep, arguments)
    except VideoMAETrainError:
        with contextlib.suppress(OSError):  # they hold something
            for folder in new:
                folder.rmdir()
        raise


def _run_in_folder(sweep: Sweep, arguments: Sequence[str]) -> None:
    known = known_places(sweep.folder, sweep.options.reuse)
    if len(sweep.points) >= _MANY:
        print(f"Checking every stage of {len(sweep.points)} points.", flush=True)
    plan = plan_sweep(sweep, known)
    launcher = launcher_settings(sweep)
    _check_ranks(plan, launcher)
    if launcher is not None and missing(_jobs(plan)):
        check_slurm_answers()
    arrays = _arrays_of_earlier_starts(sweep, plan)
    sweep.folder.mkdir(parents=True, exist_ok=True)
    refer_to_shared(sweep.folder, plan)
    command = ["videomae", "pretrain", *arguments]
    record = SweepRecord(sweep.folder, plan, command, known, arrays, sweep.shared)
    record.write()
    console = Console(highlight=False, soft_wrap=True)
    _say_beginning(console, sweep, plan)
    stopped_by = _run(sweep, plan, launcher, record)
    record.write()
    _print_table(record)
    if stopped_by is not None:
        console.print(f"Stopped by {stopped_by}. The same command goes on.")
        sys.exit(exit_code_after(stopped_by))
    _raise_for_failures(record)
    console.print(f"A page about it: videomae report {shlex.quote(str(sweep.folder))}", markup=False)


def _arrays_of_earlier_starts(sweep: Sweep, plan: SweepPlan) -> Sequence[str]:
    """Give Slurm's arrays that the record goes on naming: those of which nobody here knows whether they have ended."""
    arrays = known_arrays(sweep.folder)
    if not missing(_jobs(plan)) or shutil.which("squeue") is None:
        return arrays
    check_earlier_arrays(sweep.folder, arrays)
    return ()


def _refuse_ranks() -> None:
    if ranks_from_outside() > 1:
        raise ConfigError(
            where="sweep",
            came=f"{ranks_from_outside()} ranks, each of which would run the whole sweep",
            expected="one process, which starts those of every point",
            todo="Start it without srun or torchrun; launcher=slurm makes it a job array.",
        )


def _run(
    sweep: Sweep, plan: SweepPlan, launcher: Mapping[str, Any] | None, record: SweepRecord
) -> str | None:
    """Run what is missing; give the signal that stopped it, if one did."""
    left = missing(_jobs(plan))
    if launcher is not None:
        # One array after the other: a task that waits for another would hold its GPUs meanwhile.
        while ready := [job for job in left if all(stage.is_finished for stage in job.needs)]:
            run_on_slurm(launcher, ready, record)
            left = [job for job in left if job not in ready]
        return None
    devices = max(stage.ranks[1] for planned in plan.points for stage in planned.stages)
    with LocalRunner(record, at_once=sweep.options.at_once, devices=devices) as runner:
        runner.run(left)
    return None if runner.stopped_by is None else runner.stopped_by.name


def _check_ranks(plan: SweepPlan, launcher: Mapping[str, Any] | None) -> None:
    """Refuse stages that would find other ranks than they need: a task of an array has the same for all its stages.

    Raises:
        ConfigError: There are some.
    """
    there = None if launcher is None else (int(launcher["nodes"]), int(launcher["tasks_per_node"]))
    wrong = {
        f"{planned.point.name}: {stage.verb} with {nodes} x {devices}"
        for planned in plan.points
        for stage in planned.stages
        for nodes, devices in [stage.ranks]
        if (nodes > 1 if there is None else (nodes, devices) != there)
    }
    if not wrong:
        return
    listed = "".join(f"\n  - {each}" for each in sorted(wrong)[:_LISTED])
    more = f"\n  - and {len(wrong) - _LISTED} more" if len(wrong) > _LISTED else ""
    if there is None:
        raise ConfigError(
            where="trainer.num_nodes", came=f"stages on several nodes (nodes x devices):{listed}{more}\n",
            expected="1 node: without a launcher a sweep runs on this machine", todo="Add launcher=slurm.",
        )  # fmt: skip
    raise ConfigError(
        where="launcher=slurm",
        came=f"stages of other ranks than the {there[0]} x {there[1]} (nodes x devices) of a task:{listed}{more}\n",
        expected="the same for all stages of all points, since an array's tasks are alike",
        todo="Set devices and num_nodes with trainer=... and trainer.devices=... alone; later stages take them over.",
    )


def _jobs(plan: SweepPlan) -> list[Job]:
    """Give a job for each point's own stages, and before the first that needs it one for each that points share."""
    shared = {stage.identity: stage for stage in plan.shared}
    jobs: dict[str, Job] = {}
    for planned in plan.points:
        needs = tuple(shared[stage.identity] for stage in planned.stages if stage.identity in shared)
        for stage in needs:
            jobs.setdefault(stage.identity, Job(f"shared {stage.verb}", (stage,), plan.before(stage)))
        # What comes before a shared stage is shared too: a point's own are those after all of them.
        own = tuple(stage for stage in planned.stages if stage.identity not in shared)
        jobs[planned.point.name] = Job(planned.point.name, own, needs)
    return list(jobs.values())


def _say_beginning(console: Console, sweep: Sweep, plan: SweepPlan) -> None:
    stages = {stage.identity: stage for planned in plan.points for stage in planned.stages}
    finished = sum(stage.is_finished for stage in stages.values())
    counts = Counter(stage.verb for stage in stages.values())
    runs = ", ".join(f"{count} x {verb}" for verb, count in counts.items())
    points = f"{len(plan.points)} point{'s' if len(plan.points) > 1 else ''}"
    console.print(
        f"{points} in {sweep.folder}: {runs}; {finished} of {len(stages)} finished.\n"
        f"Progress: {sweep.folder / SUMMARY}; what each run prints: the .log files beside their folders.",
        markup=False,
    )
    names: dict[tuple[str, ...], list[str]] = {}
    for planned in plan.points:
        names.setdefault(tuple(stage.identity for stage in planned.stages), []).append(planned.point.name)
    for same in (each for each in names.values() if len(each) > 1):
        console.print(f"The same runs, made once: {', '.join(same)}.", markup=False)


def _print_table(record: SweepRecord) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("point", "stage", "state", "score", "reason"):
        table.add_column(column, overflow="fold")
    for planned in record.plan.points:
        stage, state = record.point_state(planned)
        score = record.score(planned) or {}
        top1 = f"{score['top1']:.4f}" if "top1" in score else ""
        table.add_row(escape(planned.point.name), stage.verb, state.state, top1, escape(state.reason))
    Console(highlight=False).print(table)


def _raise_for_failures(record: SweepRecord) -> None:
    left = [planned for planned in record.plan.points if record.point_state(planned)[1].state != "finished"]
    if left:
        names = ", ".join(planned.point.name for planned in left)
        raise TrainingError(
            where=str(record.folder),
            came=f"{len(left)} of {len(record.plan.points)} points that are not finished: {names}",
            expected="all of them finished",
            todo="Their logs say why; the same command again runs only what is missing.",
        )
