"""Ask Slurm to run this job again: after a warning that it is about to end, or after what the next start avoids."""

from __future__ import annotations

import os
import signal
import subprocess

from videomae_train.errors import TrainingError

# What sbatch --signal sends before the time limit. SIGTERM is scancel's, or Slurm's own preemption, which requeues.
WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)
_TIMEOUT_SEC = 60.0


def requeue_after(signal_name: str) -> str | None:
    """Requeue the Slurm job of this process if a warning signal ended the run; one rank calls it, for all.

    Slurm then ends the job's processes and starts it again, in the same folder and with the same arguments.

    Args:
        signal_name: The signal that the run stopped for, such as SIGUSR2.

    Returns:
        The job's number as Slurm has it; None where there is nothing to requeue.

    Raises:
        TrainingError: Slurm refused.
    """
    return requeue_job() if signal.Signals[signal_name] in WARNINGS else None


def requeue_job() -> str | None:
    """Requeue the Slurm job of this process; results and errors as `requeue_after`."""
    job = slurm_job()
    if job is None:
        return None
    asked = subprocess.run(
        ["scontrol", "requeue", job], capture_output=True, text=True, check=False, timeout=_TIMEOUT_SEC
    )
    # Slurm ends every process of a job that it takes back, and this one may be among the first. A job that is cancelled
    # in this moment ends the same way, and rightly.
    if asked.returncode not in (0, -signal.SIGTERM):
        raise TrainingError(
            where=f"scontrol requeue {job}",
            came=f"exit code {asked.returncode}, {' '.join((asked.stdout + asked.stderr).split())}",
            expected="that Slurm takes the job back",
            todo="Submit the same command again, with resume=auto: the checkpoint is written.",
        )
    return job


def ignore_warnings_outside_training() -> None:
    """Let Slurm's warnings pass while this process of a job starts or ends: left alone, they would end it.

    What trains takes them over for as long as it has something to save.
    """
    if slurm_job() is not None:
        for number in WARNINGS:
            signal.signal(number, signal.SIG_IGN)


def slurm_job() -> str | None:
    """Return the number of the Slurm job that this process belongs to, with the index of an array's task."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    if array is not None and task is not None:
        return f"{array}_{task}"
    return os.environ.get("SLURM_JOB_ID")


def slurm_restarts() -> int:
    """Return how often Slurm has started this process's job anew; 0 the first time, and outside of Slurm."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))
