"""Jobs of a sweep on Slurm: a job array for each batch."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from videomae_train.commands.sweep_jobs import Job, StageEnd, reason_in_log, run_stage
from videomae_train.commands.sweep_record import SweepRecord
from videomae_train.config.slurm_queue import follow_jobs_in_queue
from videomae_train.config.submitted import run_submitted
from videomae_train.config.sweep_plan import Stage
from videomae_train.errors import TrainingError
from videomae_train.training.preemption import EXIT_PREEMPTED, handling
from videomae_train.training.requeue import (
    WARNINGS,
    ignore_warnings_outside_training,
    requeue_after,
    slurm_job,
)

_SECONDS_BETWEEN_LOOKS = 5.0
_SECONDS_BETWEEN_FILES = 0.5
_LONGEST_WAIT_FOR_SLURM_SECONDS = 90.0
_LONGEST_WAIT_SECONDS = 1800.0  # rank 0 may still score, save, or wait for Slurm to take the job back
# What submitit knows by the same name on every cluster; the rest is Slurm's own.
_COMMON = {
    "timeout_min",
    "cpus_per_task",
    "gpus_per_node",
    "tasks_per_node",
    "mem_gb",
    "nodes",
    "name",
    "stderr_to_stdout",
}


def run_on_slurm(launcher: Mapping[str, Any], batch: Sequence[Job], record: SweepRecord) -> None:
    """Submit a batch as one array and wait for its end; jobs that fail do not end the others.

    Args:
        launcher: Hydra's settings of its submitit launcher.
        batch: A task of the array each.
        record: Hears how stages stand.
    """
    import submitit

    follow_jobs_in_queue()
    settings = {name: value for name, value in launcher.items() if name != "_target_"}
    executor = submitit.AutoExecutor(
        settings.pop("submitit_folder"),
        cluster="slurm",
        slurm_max_num_timeout=settings.pop("max_num_timeout"),
    )
    executor.update_parameters(
        **{name if name in _COMMON else f"slurm_{name}": value for name, value in settings.items()}
    )
    logged = {stage.identity: _log_bytes(stage) for job in batch for stage in job.stages}
    jobs = executor.map_array(run_job, list(batch))
    waiting = dict(zip(jobs, batch, strict=True))
    while waiting:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        for job in [each for each in waiting if each.done()]:
            _note_end(waiting.pop(job), record, logged, job.task(0).paths.stdout)
        for left in waiting.values():
            _note_progress(left, record)


def run_job(job: Job) -> None:
    """Run a job's stages in this task of an array; submitit calls it, on every rank."""
    run_submitted(lambda: _run_stages(job))


def _run_stages(job: Job) -> None:
    is_first = os.environ.get("SLURM_PROCID", "0") == "0"
    limit = _TimeLimit(asks=is_first)
    with handling(WARNINGS if slurm_job() is not None else (), limit.warned):
        _run_within(limit, job, is_first)


class _TimeLimit:
    """Gives the task back to Slurm where its warning comes to a stage that only scores; what trains heeds it itself.

    Args:
        asks: Whether this rank asks Slurm, for all of them.
    """

    def __init__(self, *, asks: bool) -> None:
        self._asks = asks
        self._process = os.getpid()
        self._stage: Stage | None = None
        self._warning: str | None = None

    def begin(self, stage: Stage) -> None:
        """Note which stage runs; one that comes after the warning does not begin."""
        self._stage = stage
        if self._warning is not None:
            self._give_back(self._warning)

    def warned(self, number: int, frame: FrameType | None) -> None:
        """Take a warning; nothing to save is given back at once.

        It may come twice, from Slurm and from srun, which hands on what it gets itself: Slurm refuses to take a task
        back that it is taking back. And it may come to a stage's process before its program begins, which is none of
        that process's business.
        """
        if self._warning is not None or os.getpid() != self._process:
            return
        self._warning = signal.Signals(number).name
        if self._stage is not None and not self._stage.trains:
            self._give_back(self._warning)

    def _give_back(self, warning: str) -> None:
        if self._asks:
            if (job := requeue_after(warning)) is not None:
                print(f"Slurm starts task {job} again.", file=sys.stderr)
        else:
            # Slurm ends this rank when it takes the task back; one that ended before might take rank 0 with it.
            time.sleep(_LONGEST_WAIT_FOR_SLURM_SECONDS)
        sys.exit(EXIT_PREEMPTED)


def _run_within(limit: _TimeLimit, job: Job, is_first: bool) -> None:
    for stage in job.stages:
        limit.begin(stage)
        end = run_stage(
            stage, {}, lambda process: None, to_log=is_first, prepare=ignore_warnings_outside_training
        )
        if not is_first and end.state == "failed" and end.exit_code == 0:
            _wait_for_first_rank(stage)
            continue
        if end.state == "stopped":
            # The stage has asked Slurm to start this job again, if it was a warning that stopped it.
            sys.exit(end.exit_code)
        if end.state == "failed":
            raise TrainingError(
                where=f"{job.name}: {stage.verb}",
                came=end.reason,
                expected="a stage that ends well",
                todo=f"Its whole output: {stage.log}.",
            )


def _wait_for_first_rank(stage: Stage) -> None:
    """Wait until rank 0 has written the stage's last file; if it was stopped instead, Slurm ends this rank with it.

    Raises:
        TrainingError: It never came.
    """
    deadline = time.monotonic() + _LONGEST_WAIT_SECONDS
    while not stage.is_finished:
        if time.monotonic() > deadline:
            raise TrainingError(
                where=f"{stage.verb} in {stage.folder}", came="an end on this rank, and no last file of rank 0",
                expected=f"one within {_LONGEST_WAIT_SECONDS:.0f} s", todo=f"Rank 0's output: {stage.log}.",
            )  # fmt: skip
        time.sleep(_SECONDS_BETWEEN_FILES)


def _note_progress(job: Job, record: SweepRecord) -> None:
    stage = next((stage for stage in job.stages if not stage.is_finished), None)
    if stage is not None and stage.log.exists() and record.state(stage).state != "running":
        record.begin(stage)


def _log_bytes(stage: Stage) -> int:
    return stage.log.stat().st_size if stage.log.exists() else 0


def _note_end(job: Job, record: SweepRecord, logged: Mapping[str, int], task_log: Path) -> None:
    """Note how a job ended, with a reason that its attempts since it was submitted gave, else the task around them."""
    stage = next((stage for stage in job.stages if not stage.is_finished), job.stages[-1])
    if stage.is_finished:
        record.end(stage, StageEnd("finished", "", 0))
    else:
        reason = reason_in_log(stage.log, logged[stage.identity]) or reason_in_log(task_log)
        record.end(stage, StageEnd("failed", reason or f"nothing was printed, not even in {task_log}", 1))
