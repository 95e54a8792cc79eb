"""Whether submitted jobs still run, as Slurm's queue says: submitit asks the accounting, which many clusters lack."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from typing import Any

from hydra.errors import CompactHydraException

from videomae_train.errors import ConfigError, TrainingError

_SECONDS_BETWEEN_LOOKS = 30
_ENDED = "no longer in Slurm's queue"


class JobLost(CompactHydraException):
    """A job has left the queue without a result."""


class SubmissionRefused(CompactHydraException):
    """Slurm did not take a job, or an array of them; of a kind that Hydra prints without a traceback."""

    def __init__(self, came: str) -> None:
        self.error = ConfigError(
            where="launcher=slurm", came=came, expected="that Slurm takes the job",
            todo="Correct hydra.launcher.* (partition, account, timeout_min, gpus_per_node and so on); of a sweep, ask"
            " for fewer points at a time where Slurm's MaxArraySize is less.",
        )  # fmt: skip
        super().__init__(f"Error: {self.error}")


def follow_jobs_in_queue() -> None:
    """Let submitit, in this process, learn from `squeue` which of its jobs have ended.

    It waits for a file that a job leaves at its end. A job that was killed or cancelled leaves none, and submitit's own
    question then goes to `sacct`: without accounting the submitting command would wait for ever. Where the extra that
    brings submitit is not installed, nothing happens.
    """
    if importlib.util.find_spec("submitit") is None:
        return
    from submitit.core.utils import FailedJobError, UncompletedJobError
    from submitit.slurm import slurm
    from submitit.slurm.slurm import SlurmExecutor, SlurmInfoWatcher, SlurmJob

    if SlurmJob.__module__ == __name__:
        return  # it was called before

    class QueueWatcher(SlurmInfoWatcher):
        """Calls ended what the queue does not hold: it holds waiting, running, ending and requeued jobs."""

        def _make_command(self) -> list[str] | None:
            if not self._registered - self._finished:
                return None
            # %i is a task of an array as <job>_<index>, each in a line of its own.
            return ["squeue", "--me", "--array", "--noheader", "--format=%i|%T"]

        def read_info(self, string: bytes | str) -> dict[str, dict[str, str]]:
            text = string if isinstance(string, str) else string.decode()
            listed = {line.partition("|")[0].strip() for line in text.splitlines()}
            return {
                job: {"JobID": job, "State": "RUNNING" if job in listed else _ENDED}
                for job in self._registered
            }

    class QueuedJob(SlurmJob[Any]):
        watcher = QueueWatcher(delay_s=_SECONDS_BETWEEN_LOOKS)

        def _get_outcome_and_result(self) -> tuple[str, Any]:
            try:
                return super()._get_outcome_and_result()
            except UncompletedJobError:
                # Of a kind that Hydra prints without a traceback.
                raise JobLost(f"Error: {_killed(self.job_id, self.paths.stdout)}") from None

    submit = SlurmExecutor._submit_command  # pyright: ignore[reportPrivateUsage]

    def submit_or_say_why(self: SlurmExecutor, command: str) -> Any:
        try:
            return submit(self, command)
        except FailedJobError as error:
            raise SubmissionRefused(" ".join(str(error).split())) from None

    SlurmExecutor._submit_command = submit_or_say_why  # pyright: ignore[reportPrivateUsage]
    SlurmExecutor.job_class = QueuedJob
    slurm.SlurmJob = QueuedJob  # of an array, whose jobs submitit makes by this name


def check_slurm_answers() -> None:
    """Refuse to submit where there is no Slurm.

    Raises:
        ConfigError: Its commands are not found.
        TrainingError: It does not answer.
    """
    if missing := [name for name in ("sbatch", "srun", "squeue") if shutil.which(name) is None]:
        raise ConfigError(
            where="launcher=slurm", came=f"no {' and no '.join(missing)} here", expected="Slurm's commands",
            todo="Start it on a login node of the cluster; without launcher=slurm it runs here.",
        )  # fmt: skip
    jobs_in_queue()


def jobs_in_queue() -> set[str]:
    """Ask Slurm for the numbers of this user's jobs that wait, run or end; of an array's tasks, the array's.

    Raises:
        TrainingError: Slurm does not answer.
    """
    try:
        asked = subprocess.run(
            ["squeue", "--me", "--noheader", "--format=%F"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        said = error.stderr if isinstance(error, subprocess.CalledProcessError) else ""
        raise TrainingError(
            where="squeue --me", came=" ".join(said.split()) or str(error),
            expected="the jobs that are in Slurm's queue", todo="Try again when Slurm answers.",
        ) from error  # fmt: skip
    return set(asked.stdout.split())


def _killed(job: str, log: object) -> TrainingError:
    return TrainingError(
        where=f"Slurm's job {job}",
        came=f"no result, and it is {_ENDED}: killed or cancelled from outside",
        expected="a job that runs to its end",
        todo=f"Its log says how far it came: {log}. The same command goes on from its newest checkpoint.",
    )
