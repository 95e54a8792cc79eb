"""Where a sweep's points run: as Slurm's job arrays, and beside each other on this machine."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import videomae
from sweep_stand_ins import CHAIN, StandIns, summary

from videomae_train.commands import sweep_jobs, sweep_local, sweep_slurm
from videomae_train.commands.sweep_record import SweepRecord
from videomae_train.config.slurm_queue import JobLost
from videomae_train.config.sweep import read_sweep
from videomae_train.config.sweep_plan import Stage, plan_sweep
from videomae_train.errors import TrainingError
from videomae_train.training.requeue import ignore_warnings_outside_training


class Array:
    """Stands where submitit's executor would: its jobs run at once, in this process."""

    def __init__(self, folder: str, **settings: object) -> None:
        self.settings: dict[str, object] = {"folder": folder, **settings}
        arrays.append(self)

    def update_parameters(self, **settings: object) -> None:
        self.settings.update(settings)

    def map_array(self, function: object, jobs: list[sweep_jobs.Job]) -> list["Ended"]:
        assert function is sweep_slurm.run_job
        self.names = [job.name for job in jobs]
        return [self._run(job) for job in jobs]

    def _run(self, job: sweep_jobs.Job) -> "Ended":
        log = Path(f"{self.settings['folder']}.{job.name.replace('/', '+')}")
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            sweep_slurm._run_stages(job)
        except TrainingError as error:  # which ends the task in Slurm
            log.write_text(f"Error: {error}\n")
            return Ended(SimpleNamespace(stdout=log), error)
        return Ended(SimpleNamespace(stdout=log), None)


@dataclass(eq=False)
class Ended:
    paths: SimpleNamespace
    error: TrainingError | None
    job_id: str = "8_0"

    def task(self, number: int) -> "Ended":
        return self

    def exception(self) -> TrainingError | None:
        return self.error

    def done(self) -> bool:
        return True


arrays: list[Array] = []


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Slurm that takes arrays and runs them at once, beside somebody else's number 7."""
    monkeypatch.setattr(pytest.importorskip("submitit"), "AutoExecutor", Array)
    monkeypatch.setattr(sweep_slurm, "_SECONDS_BETWEEN_LOOKS", 0)
    monkeypatch.setattr(sweep_slurm, "check_slurm_is_here", lambda: None)
    monkeypatch.setattr(sweep_slurm, "jobs_in_queue", lambda: {"7"})
    arrays.clear()


@pytest.mark.usefixtures("slurm")
def test_slurm__is_an_array_of_what_is_shared_then_one_of_what_is_missing(
    words: list[str], stand_ins: StandIns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_ins.failing = "base_lr-0.002/finetune"
    slurm = ["launcher=slurm", "trainer.num_nodes=2", "trainer.micro_batch=1", "finetune.trainer.micro_batch=2",
             "hydra.launcher.partition=gpu"]  # fmt: skip
    command = [*words, *CHAIN, *slurm, "finetune.optim.base_lr=1e-3,2e-3", f"run={tmp_path / 's'}"]
    assert videomae("pretrain", "-m", *command) == 1
    names = [f"finetune.optim.base_lr-{rate}" for rate in (0.001, 0.002)]
    assert [array.names for array in arrays] == [["shared pretrain"], names]
    assert arrays[0].settings["nodes"] == 2
    assert arrays[0].settings["slurm_partition"] == "gpu"
    assert arrays[0].settings["folder"] == f"{tmp_path / 's'}/slurm/%j"
    assert summary(tmp_path / "s")[names[1]]["reason"] == "planted, expected nothing."
    stand_ins.failing = ""
    assert videomae("pretrain", "-m", *command) == 0
    assert [array.names for array in arrays[2:]] == [[names[1]]], "finished points are not even submitted"


@pytest.mark.usefixtures("slurm")
def test_slurm__an_array_of_an_earlier_start_that_still_runs__is_not_submitted_again(
    words: list[str],
    stand_ins: StandIns,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sweep_slurm, "jobs_in_queue", lambda: {"8"})
    stand_ins.failing = "finetune"
    slurm = ["launcher=slurm", "trainer.micro_batch=1", "finetune.trainer.micro_batch=2"]
    command = ["pretrain", "-m", *words, *CHAIN, *slurm, f"run={tmp_path / 's'}"]
    assert videomae(*command) == 1
    num_arrays = len(arrays)
    assert videomae(*command) == 2
    assert "array 8 of this sweep in Slurm's queue" in " ".join(capsys.readouterr().err.split())
    assert len(arrays) == num_arrays


def test_slurm__what_it_refuses_is_said(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("submitit")
    for name in ("sbatch", "srun", "squeue"):
        (tmp_path / name).write_text("#!/bin/sh\necho Invalid job array specification >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert videomae("pretrain", "-m", *words, "launcher=slurm", "seed=0,1", f"run={tmp_path / 's'}") == 2
    assert "launcher=slurm: Invalid job array specification" in capsys.readouterr().err


def test_slurm__what_a_network_file_system_shows_late__is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stage_of(tmp_path)

    def appears(seconds: float) -> None:
        stage.folder.mkdir()
        (stage.folder / "run.json").write_text("{}")

    ends: list[sweep_jobs.StageEnd] = []
    record = SimpleNamespace(end=lambda _, end: ends.append(end))
    monkeypatch.setattr(sweep_slurm.time, "sleep", appears)
    task = Ended(SimpleNamespace(stdout=tmp_path / "log"), None)
    sweep_slurm._note_end(sweep_jobs.Job("a", (stage,)), record, {stage.identity: 0}, task)  # type: ignore[arg-type]
    assert [end.state for end in ends] == ["finished"]


def test_slurm__a_task_that_was_killed__is_said_to_be(tmp_path: Path) -> None:
    @dataclass(eq=False)
    class Killed(Ended):
        def exception(self) -> None:
            raise JobLost("no result")

    stage = stage_of(tmp_path)
    stage.log.write_text("pretrain 8/10 loss 0.9\n")
    ends: list[sweep_jobs.StageEnd] = []
    record = SimpleNamespace(end=lambda _, end: ends.append(end))
    task = Killed(SimpleNamespace(stdout=tmp_path / "log"), None)
    sweep_slurm._note_end(sweep_jobs.Job("a", (stage,)), record, {stage.identity: 0}, task)  # type: ignore[arg-type]
    assert ends[0].state == "failed"
    assert re.search(r"killed, cancelled, or out of time.* loss 0\.9", ends[0].reason)


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


@pytest.mark.usefixtures("slurm")
def test_slurm__a_task_that_breaks_before_its_stage_prints__is_reported_with_its_own_words(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object, **__: object) -> sweep_jobs.StageEnd:
        raise TrainingError(where="scontrol", came="no", expected="yes", todo="Wait.")

    monkeypatch.setattr(sweep_slurm, "run_stage", breaks)
    slurm = ["launcher=slurm", "trainer.micro_batch=1", "finetune.trainer.micro_batch=2"]
    assert videomae("pretrain", "-m", *words, *CHAIN, *slurm, f"run={tmp_path / 's'}") == 1
    (point,) = summary(tmp_path / "s").values()
    assert (point["state"], point["reason"]) == ("failed", "scontrol: no; expected yes. Wait.")


def stage_of(folder: Path, verb: str = "pretrain") -> Stage:
    return Stage(verb, "0123456789abcdef", folder / verb, ())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Slurm is asked, which it answers with the number of the task."""
    asked: list[str] = []
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setattr(sweep_slurm, "requeue_after", lambda warning: asked.append(warning) or "12")
    return asked


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


@pytest.mark.parametrize(
    ("visible", "at_once", "devices", "shares"),
    [
        (None, 2, 1, ["0", "1"]), (None, 2, 2, ["0,1", "2,3"]), ("3,5", 2, 1, ["3", "5"]), (None, 1, 2, [None]),
        (None, 6, 1, ["0", "1", "2", "3", "0", "1"]),
    ],
)  # fmt: skip
def test_points_beside_each_other__have_gpus_of_their_own(
    visible: str | None, at_once: int, devices: int, shares: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_local.torch.cuda, "device_count", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    given = sweep_local._environments(at_once, devices)
    assert [each.get("CUDA_VISIBLE_DEVICES") for each in given] == shares


@pytest.mark.parametrize("is_ignored", [True, False])
def test_end_of_the_terminal__stops_a_sweep_unless_nohup_started_it(
    is_ignored: bool, stand_ins: StandIns, words: list[str], tmp_path: Path
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if is_ignored else signal.SIG_DFL)
    plan = plan_sweep(read_sweep(["-m", *words, "seed=0,1", f"run={tmp_path}"]), {})
    record = SweepRecord(tmp_path, plan, [], {})
    try:
        with sweep_local.LocalRunner(record, at_once=1, devices=1) as runner:
            os.kill(os.getpid(), signal.SIGHUP)
            assert runner.stopped_by == (None if is_ignored else signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
