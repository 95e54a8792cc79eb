"""What submitit hears of its jobs, with a stand-in for Slurm's squeue; on a real one in tests/cluster."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.errors import CompactHydraException
from submitit.core.core import Job
from submitit.slurm import slurm
from submitit.slurm.slurm import SlurmExecutor, SlurmJob

from videomae_train.config.slurm_queue import follow_jobs_in_queue

Answer = Callable[[str], None]


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Answer:
    """Say what the queue holds."""
    monkeypatch.setattr(SlurmExecutor, "job_class", SlurmJob)
    monkeypatch.setattr(slurm, "SlurmJob", SlurmJob)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / "squeue").write_text(f'#!/bin/sh\ncase "$*" in *--me*--array*) cat {tmp_path}/held;; esac\n')
    (tmp_path / "squeue").chmod(0o755)
    follow_jobs_in_queue()

    def answer(held: str) -> None:
        (tmp_path / "held").write_text(held)

    return answer


def job_of(tmp_path: Path, name: str) -> Job[Any]:
    job = SlurmExecutor.job_class(folder=tmp_path, job_id=name, tasks=(0,))
    job._results_timeout_s = 0  # pyright: ignore[reportPrivateUsage]
    return job


@pytest.mark.parametrize(
    "state", ["PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING", "REQUEUED"]
)
def test_job__in_the_queue_is_not_done(queue: Answer, tmp_path: Path, state: str) -> None:
    queue(f"7|RUNNING\n8_0|{state}\n8_1|RUNNING\n")
    assert not job_of(tmp_path, "8_0").done(force_check=True)
    assert not job_of(tmp_path, "7").done(force_check=True)


def test_job__that_left_the_queue_without_a_result_is_an_error_with_its_log(
    queue: Answer, tmp_path: Path
) -> None:
    queue("8_1|RUNNING\n18_0|RUNNING\n")
    job = job_of(tmp_path, "8_0")
    assert job.done(force_check=True)
    with pytest.raises(CompactHydraException, match=r"^Error: Slurm's job 8_0: no result.*8_0_0_log\.out"):
        job.result()


@pytest.mark.parametrize("num_jobs", [1, 2])
def test_arrays__are_looked_for_in_the_queue_too(queue: Answer, tmp_path: Path, num_jobs: int) -> None:
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho Submitted batch job 8\n")
    (tmp_path / "sbatch").chmod(0o755)
    (tmp_path / "srun").touch(0o755)
    jobs = SlurmExecutor(tmp_path / "jobs").map_array(print, range(num_jobs))
    queue("")
    assert all(job.done(force_check=True) for job in jobs)


def test_slurm_that_does_not_answer__ends_no_job(queue: Answer, tmp_path: Path) -> None:
    (tmp_path / "squeue").write_text("#!/bin/sh\nexit 1\n")
    assert not job_of(tmp_path, "8_0").done(force_check=True)
