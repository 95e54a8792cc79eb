"""Jobs of a sweep on Slurm: a job array for each batch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from videomae_train.commands.sweep_jobs import Job, StageEnd, reason_in_log, run_stage
from videomae_train.commands.sweep_record import SweepRecord
from videomae_train.config.slurm_queue import (
    JobLost,
    SubmissionRefused,
    follow_jobs_in_queue,
    jobs_in_queue,
)
from videomae_train.config.submitted import run_submitted
from videomae_train.config.sweep_plan import Stage
from videomae_train.errors import ConfigError, TrainingError
from videomae_train.training.preemption import EXIT_PREEMPTED, handling
from videomae_train.training.requeue import (
    WARNINGS,
    ignore_warnings_outside_training,
    requeue_after,
    slurm_job,
)

_SECONDS_BETWEEN_LOOKS = 5.0
_SECONDS_BETWEEN_FILES = 0.5
_SECONDS_BETWEEN_WARNINGS = 3.0
_LONGEST_WAIT_FOR_FILE_SECONDS = (
    90.0  # directories are remembered for 60 s at most, if NFS is mounted as usual
)
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
    follow_jobs_in_queue()
    logged = {stage.identity: _log_bytes(stage) for job in batch for stage in job.stages}
    tasks = _submit(launcher, batch)
    array = str(tasks[0].job_id).partition("_")[0]
    record.add_array(array)
    waiting = dict(zip(tasks, batch, strict=True))
    try:
        while waiting:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            for task in [each for each in waiting if each.done()]:
                _note_end(waiting.pop(task), record, logged, task)
            for left in waiting.values():
                _note_progress(left, record, logged)
    except KeyboardInterrupt:
        print(
            f"Slurm's array {array} goes on; scancel {array} ends it. Once it has ended, the same command runs"
            " what is missing.",
            file=sys.stderr,
        )
        raise


def check_earlier_arrays(folder: Path, arrays: Sequence[str]) -> None:
    """Refuse to run what an array of an earlier start still runs, or is going to run.

    Args:
        folder: Of the sweep.
        arrays: That its earlier starts submitted.

    Raises:
        ConfigError: One is in Slurm's queue.
        TrainingError: Slurm does not answer.
    """
    held = jobs_in_queue() if arrays else set[str]()
    if left := [array for array in arrays if array in held]:
        raise ConfigError(
            where=str(folder), came=f"array {', '.join(left)} of this sweep in Slurm's queue",
            expected="none: it would run the same points at the same time",
            todo=f"Wait until it has ended, or end it: scancel {' '.join(left)}. Then give the same command.",
        )  # fmt: skip


def _submit(launcher: Mapping[str, Any], batch: Sequence[Job]) -> Sequence[Any]:
    """Submit a batch as one array; give submitit's jobs, one for each task.

    Raises:
        ConfigError: Slurm refused, or is not there.
    """
    import submitit

    settings = {name: value for name, value in launcher.items() if name != "_target_"}
    folder, timeouts = settings.pop("submitit_folder"), settings.pop("max_num_timeout")
    executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=timeouts)
    executor.update_parameters(
        **{name if name in _COMMON else f"slurm_{name}": value for name, value in settings.items()}
    )
    try:
        return executor.map_array(run_job, list(batch))
    except SubmissionRefused as refused:
        raise refused.error from None


def run_job(job: Job) -> None:
    """Run a job's stages in this task of an array; submitit calls it, on every rank."""
    run_submitted(lambda: _run_stages(job))


def _run_stages(job: Job) -> None:
    is_first = os.environ.get("SLURM_PROCID", "0") == "0"
    limit = _TimeLimit(asks=is_first)
    with handling(WARNINGS if slurm_job() is not None else (), limit.warned):
        _run_within(limit, job, is_first)


class _TimeLimit:
    """Takes Slurm's warning for a task of several stages.

    What trains is told until it has heard, since it does not listen while it starts. A stage that only scores has
    nothing to save: its task is given back to Slurm at once.

    Args:
        asks: Whether this rank asks Slurm, for all of them.
    """

    def __init__(self, *, asks: bool) -> None:
        self._asks = asks
        self._own_process = os.getpid()
        self._stage: Stage | None = None
        self._running: subprocess.Popen[bytes] | None = None
        self._warning: signal.Signals | None = None

    def begin(self, stage: Stage) -> None:
        """Note which stage runs; one that comes after the warning does not begin."""
        self._stage, self._running = stage, None
        if self._warning is not None:
            self._give_back(self._warning)

    def started(self, process: subprocess.Popen[bytes]) -> None:
        """Note the stage's process."""
        self._running = process
        if self._warning is not None:
            self._tell(process, self._warning)

    def warned(self, number: int, frame: FrameType | None) -> None:
        """Take a warning.

        It may come twice, from Slurm and from srun, which hands on what it gets itself: Slurm refuses to take a task
        back that it is taking back. And it may come to a stage's process before its program begins, which is none of
        that process's business.
        """
        if self._warning is not None or os.getpid() != self._own_process:
            return
        self._warning = signal.Signals(number)
        if self._stage is not None and not self._stage.trains:
            self._give_back(self._warning)
        if self._running is not None:
            self._tell(self._running, self._warning)

    def _tell(self, process: subprocess.Popen[bytes], warning: signal.Signals) -> None:
        """Send a training the warning until its end; those after the first that it hears change nothing."""

        def send() -> None:
            while process.poll() is None:
                process.send_signal(warning)
                time.sleep(_SECONDS_BETWEEN_WARNINGS)

        threading.Thread(target=send, daemon=True).start()

    def _give_back(self, warning: signal.Signals) -> None:
        if self._asks:
            if (job := requeue_after(warning.name)) is not None:
                print(f"Slurm starts task {job} again.", file=sys.stderr)
        else:
            # Slurm ends this rank when it takes the task back; one that ended before might take rank 0 with it.
            time.sleep(_LONGEST_WAIT_FOR_SLURM_SECONDS)
        sys.exit(EXIT_PREEMPTED)


def _run_within(limit: _TimeLimit, job: Job, is_first: bool) -> None:
    for stage in job.stages:
        limit.begin(stage)
        end = run_stage(stage, {}, limit.started, to_log=is_first, prepare=ignore_warnings_outside_training)
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


def _note_progress(job: Job, record: SweepRecord, logged: Mapping[str, int]) -> None:
    """Note stages that have printed something since their task was submitted."""
    stage = _first_missing(job)
    if (
        stage is not None
        and _log_bytes(stage) > logged[stage.identity]
        and record.state(stage).state != "running"
    ):
        record.begin(stage)


def _log_bytes(stage: Stage) -> int:
    return stage.log.stat().st_size if stage.log.exists() else 0


def _note_end(job: Job, record: SweepRecord, logged: Mapping[str, int], task: Any) -> None:
    """Note how a job ended, with a reason that its attempts since it was submitted gave, else the task around them."""
    lost, went_well = "", False
    try:
        went_well = task.exception() is None
    except JobLost:
        lost = "its task left Slurm's queue without a word: killed, cancelled, or out of time. The last it printed: "
    stage = _first_missing_in_the_end(job) if went_well else _first_missing(job)
    if stage is None:
        record.end(job.stages[-1], StageEnd("finished", "", 0))
        return
    log = task.task(0).paths.stdout
    said = (
        reason_in_log(stage.log, logged[stage.identity])
        or reason_in_log(log)
        or f"nothing, not even in {log}"
    )
    record.end(stage, StageEnd("failed", lost + said, 1))


def _first_missing(job: Job) -> Stage | None:
    return next((stage for stage in job.stages if not stage.is_finished), None)


def _first_missing_in_the_end(job: Job) -> Stage | None:
    """Look again for a while: on a network file system a file may be seen here only some time after it was written."""
    deadline = time.monotonic() + _LONGEST_WAIT_FOR_FILE_SECONDS
    while (stage := _first_missing(job)) is not None and time.monotonic() < deadline:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return stage
