"""Where a sweep's points run: as Slurm's job arrays, and beside each other on this machine."""

import contextlib
import json
import os
import re
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import videomae
from sweep_stand_ins import CHAIN, StandIns, stage_of, summary

from videomae_train.commands import sweep, sweep_jobs, sweep_local, sweep_slurm
from videomae_train.commands.sweep_record import SweepRecord
from videomae_train.config.slurm_queue import JobLost
from videomae_train.config.sweep import read_sweep
from videomae_train.config.sweep_plan import plan_sweep
from videomae_train.errors import TrainingError


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
    monkeypatch.setattr(sweep, "check_slurm_answers", lambda: None)
    monkeypatch.setattr(sweep_slurm, "jobs_in_queue", lambda: {"7"})
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
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
def test_slurm__has_no_tasks_for_points_that_others_have_run(
    words: list[str], stand_ins: StandIns, tmp_path: Path
) -> None:
    settings = ["launcher=slurm", "trainer.micro_batch=1", "trainer.log_every_steps=1,2"]
    assert videomae("pretrain", "-m", *words, *settings, f"run={tmp_path / 's'}") == 0
    assert [array.names for array in arrays] == [["shared pretrain"]]
    assert [point["state"] for point in summary(tmp_path / "s").values()] == ["finished"] * 2


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
    here = [word for word in command if word != "launcher=slurm"]
    assert videomae(*here) == 2, "nor run here"
    stand_ins.failing = ""
    monkeypatch.setattr(sweep_slurm, "jobs_in_queue", set)
    assert videomae(*here) == 0
    assert json.loads((tmp_path / "s" / "sweep.json").read_text())["arrays"] == [], "which have ended"


@pytest.mark.usefixtures("slurm")
@pytest.mark.parametrize(
    ("given", "where", "came"),
    [
        (["launcher=slurm", "finetune.trainer=ddp"], "launcher=slurm", "finetune with 1 x 8"),
        (
            ["launcher=slurm", "trainer.devices=2", "evaluate.devices=1"],
            "launcher=slurm",
            "evaluate with 1 x 1",
        ),
        (
            ["launcher=slurm", "trainer.devices=1,2"],
            "launcher=slurm",
            "trainer.devices-2: pretrain with 1 x 2",
        ),
        (["trainer.num_nodes=2"], "trainer.num_nodes", "pretrain with 2 x 1"),
    ],
)
def test_stages_that_need_other_ranks_than_they_find__are_refused_before_anything_starts(
    given: list[str],
    where: str,
    came: str,
    words: list[str],
    tmp_path: Path,
    stand_ins: StandIns,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An array's tasks are alike; a fine-tuning on eight GPUs would fail after the pretraining is paid for."""
    batches = ["trainer.micro_batch=1", "finetune.trainer.micro_batch=2", "finetune.optim.global_batch=16"]
    assert videomae("pretrain", "-m", *words, *CHAIN, *batches, *given, f"run={tmp_path / 's'}") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"Error: {where}: stages o" in said
    assert came in said
    assert (stand_ins.ran, arrays) == ([], [])


def test_slurm__what_it_refuses_is_said(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("submitit")
    refused = "#!/bin/sh\necho Invalid job array specification >&2\nexit 1\n"
    for name, says in (("sbatch", refused), ("srun", refused), ("squeue", "#!/bin/sh\n")):
        (tmp_path / name).write_text(says)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    command = ["pretrain", "-m", *words, "launcher=slurm", "seed=0,1"]
    assert videomae(*command, f"run={tmp_path / 's'}") == 2
    assert "launcher=slurm: Invalid job array specification" in capsys.readouterr().err
    (tmp_path / "squeue").write_text("#!/bin/sh\necho Unable to contact slurm controller >&2\nexit 1\n")
    assert videomae(*command, f"run={tmp_path / 'other'}") == 1
    assert "Error: squeue --me: Unable to contact slurm controller; expected" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


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


def test_first_signal__is_the_one_that_stopped_a_sweep(words: list[str], tmp_path: Path) -> None:
    """A script around it may pass on a Ctrl-C that the sweep has heard already."""
    plan = plan_sweep(read_sweep(["-m", *words, "seed=0,1", f"run={tmp_path}"]), {})
    with sweep_local.LocalRunner(SweepRecord(tmp_path, plan, [], {}), at_once=1, devices=1) as runner:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert runner.stopped_by == signal.SIGINT


def test_output_without_room__stops_nothing(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_sweep(read_sweep(["-m", *words, "seed=0,1", f"run={tmp_path}"]), {})
    record = SweepRecord(tmp_path / "no such folder", plan, [], {})
    stage = plan.points[0].stages[0]
    full = Path("/dev/full").open("w")  # noqa: SIM115  (closing it fails)
    with monkeypatch.context() as patched:
        patched.setattr("sys.stdout", full)
        patched.setattr("sys.stderr", full)
        record.begin(stage)
    with contextlib.suppress(OSError):
        full.close()
    assert record.state(stage).state == "running"


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
