"""What a task of a sweep's array does inside Slurm: warnings before its time limit, and ranks that end apart."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sweep_stand_ins import stage_of

from videomae_train.commands import sweep_jobs, sweep_slurm
from videomae_train.config.sweep_plan import Stage
from videomae_train.errors import TrainingError
from videomae_train.training.requeue import ignore_warnings_outside_training


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Slurm is asked, which it answers with the number of the task."""
    asked: list[str] = []
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setattr(sweep_slurm, "requeue_after", lambda warning: asked.append(warning) or "12")
    return asked


def test_a_warning_that_a_training_does_not_hear_yet__comes_again(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lets warnings pass while it starts, and would train on into the time limit."""
    program = """
import signal, sys, time
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
open(sys.argv[1], "w").close()
time.sleep(0.5)
signal.signal(signal.SIGUSR2, lambda *_: sys.exit(75))
while True:
    time.sleep(0.05)
"""

    def run_stage(
        stage: Stage, environment: dict[str, str], started: sweep_jobs.Started, **options: object
    ) -> sweep_jobs.StageEnd:
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "began")],
            preexec_fn=ignore_warnings_outside_training,
        )
        started(process)
        while not (tmp_path / "began").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGUSR2)
        return sweep_jobs.StageEnd("stopped", "", process.wait())

    monkeypatch.setattr(sweep_slurm, "run_stage", run_stage)
    monkeypatch.setattr(sweep_slurm, "_SECONDS_BETWEEN_WARNINGS", 0.1)
    stage = replace(stage_of(tmp_path), words=("resume=auto",))
    with pytest.raises(SystemExit, match="75"):
        sweep_slurm._run_stages(sweep_jobs.Job("a", (stage,)))
    assert asked == [], "the training asks itself, once it has saved"


def test_a_score_is_warned_twice__its_task_is_given_back_once(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm warns all processes of a task, and srun hands on what it gets; a second request would be refused."""

    def warned_twice(stage: Stage, *_: object, **__: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGUSR2)
        finally:
            os.kill(os.getpid(), signal.SIGUSR2)

    monkeypatch.setattr(sweep_slurm, "run_stage", warned_twice)
    with pytest.raises(SystemExit, match="75"):
        sweep_slurm._run_stages(sweep_jobs.Job("a", (stage_of(tmp_path, "evaluate"),)))
    assert asked == ["SIGUSR2"]


def test_a_warning_to_a_process_whose_program_has_not_begun__is_not_its_business(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's handlers are still those of the task there."""
    ends: list[sweep_jobs.StageEnd] = []

    def run_stage(
        stage: Stage, environment: dict[str, str], started: sweep_jobs.Started, **options: object
    ) -> sweep_jobs.StageEnd:
        process = subprocess.Popen(["true"], preexec_fn=lambda: os.kill(os.getpid(), signal.SIGUSR2))
        ends.append(sweep_jobs.StageEnd("finished", "", process.wait()))
        return ends[-1]

    monkeypatch.setattr(sweep_slurm, "run_stage", run_stage)
    sweep_slurm._run_stages(sweep_jobs.Job("a", (stage_of(tmp_path, "evaluate"),)))
    assert (asked, ends[0].exit_code) == ([], 0)


def test_a_rank_that_does_not_ask__waits_for_slurm(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many a Slurm ends a task with its first rank that ends badly: the one that asks may not have asked yet."""
    waited: list[float] = []

    def warned(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGUSR2)

    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setattr(sweep_slurm, "run_stage", warned)
    monkeypatch.setattr(sweep_slurm.time, "sleep", waited.append)
    with pytest.raises(SystemExit, match="75"):
        sweep_slurm._run_stages(sweep_jobs.Job("a", (stage_of(tmp_path, "evaluate"),)))
    assert (asked, waited) == ([], [sweep_slurm._LONGEST_WAIT_FOR_SLURM_SECONDS])


def test_a_rank_that_is_done_before_rank_0_has_saved__waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would end the whole task, with rank 0 in it."""
    stage = stage_of(tmp_path)
    waited: list[float] = []

    def rank_0_saves(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            stage.folder.mkdir()
            (stage.folder / "run.json").write_text("{}")

    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setattr(
        sweep_slurm, "run_stage", lambda *_, **__: sweep_jobs.StageEnd("failed", "no file", 0)
    )
    monkeypatch.setattr(sweep_slurm.time, "sleep", rank_0_saves)
    sweep_slurm._run_stages(sweep_jobs.Job("a", (stage,)))
    assert len(waited) == 3
    monkeypatch.setattr(sweep_slurm, "_LONGEST_WAIT_SECONDS", -1.0)
    (stage.folder / "run.json").unlink()
    with pytest.raises(TrainingError, match="no last file of rank 0"):
        sweep_slurm._run_stages(sweep_jobs.Job("a", (stage,)))


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_rank_that_fails__fails(rank: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_PROCID", rank)
    monkeypatch.setattr(
        sweep_slurm, "run_stage", lambda *_, **__: sweep_jobs.StageEnd("failed", "planted", 1)
    )
    with pytest.raises(TrainingError, match="planted"):
        sweep_slurm._run_stages(sweep_jobs.Job("a", (stage_of(tmp_path),)))
