"""`videomae pretrain -m` and `sweep=...`: what is run, how often, and what is left of failures and restarts.

Except in the slow tests a stage's process is a stand-in that leaves the files by which a stage is finished.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from command_line import QUICK, SMALL, videomae

from videomae_train.commands import sweep_jobs, sweep_local, sweep_slurm
from videomae_train.config.sweep_plan import Stage
from videomae_train.errors import TrainingError

LATER = [word for word in QUICK if not word.startswith("model.")]
CHAIN = [
    "sweep.then=[finetune,evaluate]", *(f"finetune.{word}" for word in LATER), "finetune.data.selection=split/train",
    "evaluate.data.selection=split/test", "evaluate.data.num_clips=1", "evaluate.data.num_crops=1",
    "evaluate.loader.num_workers=0",
]  # fmt: skip


@pytest.fixture
def words(packed_motions: Path) -> list[str]:
    return ["model=tiny", *SMALL, *QUICK, f"data.path={packed_motions}", "data.selection=split/train"]


class StandIns:
    """Processes that end a stage at once; they write down who ran, and fail where told to."""

    def __init__(self, folder: Path) -> None:
        self.book = folder / "book.txt"
        self.failing = ""

    def command(self, stage: Stage) -> list[str]:
        leaves = "metrics.json" if stage.verb == "evaluate" else "run.json"
        program = f"""
import os, pathlib, sys
with open({str(self.book)!r}, "a") as book:
    book.write({f"{stage.verb} {stage.folder.parent.name}"!r} + "\\n")
if {self.failing != "" and self.failing in str(stage.folder)!r}:
    sys.exit("Error: planted, expected nothing.")
folder = pathlib.Path({str(stage.folder)!r})
folder.mkdir(parents=True, exist_ok=True)
(folder / {leaves!r}).write_text('{{"top1": 0.5}}')
"""
        return [sys.executable, "-S", "-c", program]

    @property
    def ran(self) -> list[str]:
        return self.book.read_text().splitlines() if self.book.exists() else []


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIns:
    stand_ins = StandIns(tmp_path)
    monkeypatch.setattr(sweep_jobs, "command", stand_ins.command)
    return stand_ins


def summary(sweep: Path) -> dict[str, dict[str, object]]:
    return json.loads((sweep / "sweep.json").read_text())["points"]


def test_sweep__is_a_folder_for_each_point_with_all_its_stages(
    words: list[str], stand_ins: StandIns, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    assert videomae("pretrain", "-m", *words, *CHAIN, "masking.ratio=0.75,0.9", f"run={sweep}") == 0
    names = ["masking.ratio-0.75", "masking.ratio-0.9"]
    assert sorted(each.name for each in sweep.iterdir() if each.is_dir()) == names
    assert stand_ins.ran == [
        f"{verb} {name}" for name in names for verb in ("pretrain", "finetune", "evaluate")
    ]
    assert {name: (point["state"], point["score"]) for name, point in summary(sweep).items()} == {
        name: ("finished", {"top1": 0.5}) for name in names
    }


@pytest.mark.parametrize("at_once", [1, 2])
def test_shared_stage__runs_once_and_before_the_points(
    words: list[str], stand_ins: StandIns, tmp_path: Path, at_once: int
) -> None:
    sweep = tmp_path / "sweep"
    rates = "finetune.optim.base_lr=1e-3,2e-3,4e-3"
    assert videomae("pretrain", *words, *CHAIN, "-m", rates, f"sweep.at_once={at_once}", f"run={sweep}") == 0
    assert stand_ins.ran[0] == "pretrain _shared"
    assert sorted(word.split()[0] for word in stand_ins.ran) == ["evaluate"] * 3 + ["finetune"] * 3 + [
        "pretrain"
    ]
    for point in summary(sweep):
        reference = json.loads((sweep / point / "pretrain" / "stage.json").read_text())["run"]
        assert (sweep / point / "pretrain" / reference / "run.json").is_file()


def test_evaluations_settings__share_the_training(
    words: list[str], stand_ins: StandIns, tmp_path: Path
) -> None:
    clips = [word for word in CHAIN if "num_clips" not in word]
    assert (
        videomae("pretrain", "-m", *words, *clips, "evaluate.data.num_clips=1,2", f"run={tmp_path / 's'}")
        == 0
    )
    assert [word.split()[0] for word in stand_ins.ran] == ["pretrain", "finetune", "evaluate", "evaluate"]


def test_machine_settings__make_no_other_run(words: list[str], stand_ins: StandIns, tmp_path: Path) -> None:
    assert videomae("pretrain", "-m", *words, "trainer.log_every_steps=1,2", f"run={tmp_path / 's'}") == 0
    assert len(stand_ins.ran) == 1
    assert videomae("pretrain", "-m", *words, "seed=0,1", f"run={tmp_path / 'other'}") == 0
    assert len(stand_ins.ran) == 3, "a seed does"


def test_failed_point__is_reported_and_ends_no_other(
    words: list[str], stand_ins: StandIns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "sweep"
    command = ["pretrain", "-m", *words, *CHAIN, "seed=0,1,2", f"run={sweep}"]
    stand_ins.failing = "seed-1/finetune"
    assert videomae(*command) == 1
    assert "1 of 3 points that are not finished: seed-1" in capsys.readouterr().err
    points = summary(sweep)
    assert [points[f"seed-{seed}"]["state"] for seed in (0, 1, 2)] == ["finished", "failed", "finished"]
    assert (points["seed-1"]["stage"], points["seed-1"]["reason"]) == (
        "finetune",
        "planted, expected nothing.",
    )
    stand_ins.failing = ""
    before = len(stand_ins.ran)
    assert videomae(*command) == 0
    assert stand_ins.ran[before:] == ["finetune seed-1", "evaluate seed-1"], "only what is missing"
    assert videomae(*command) == 0
    assert len(stand_ins.ran) == before + 2, "a finished sweep runs nothing"


def test_failed_shared_stage__fails_its_points_and_no_others(
    words: list[str], stand_ins: StandIns, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    stand_ins.failing = "_shared/pretrain"
    rates = "finetune.optim.base_lr=1e-3,2e-3"
    assert videomae("pretrain", "-m", *words, *CHAIN, rates, f"run={sweep}") == 1
    assert stand_ins.ran == ["pretrain _shared"]
    assert {(point["state"], point["stage"]) for point in summary(sweep).values()} == {("failed", "pretrain")}


def test_problems__come_all_at_once_before_anything_starts(
    words: list[str], stand_ins: StandIns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "sweep"
    wrong = ["masking.ratio=0.5,1.5", "finetune.data.selection=nowhere"]
    assert videomae("pretrain", "-m", *words, *CHAIN, *wrong, f"run={sweep}") == 2
    message = capsys.readouterr().err
    assert "2 problems in 2 points" in message
    assert "masking.ratio-1.5: pretrain: masking.ratio: 1.5" in message
    assert "masking.ratio-0.5: finetune: " in message
    assert "nowhere" in message
    assert stand_ins.ran == []
    assert not sweep.exists()


def test_another_recipe__is_refused_in_the_same_folder(
    words: list[str], stand_ins: StandIns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["pretrain", "-m", *words, "seed=0,1", f"run={tmp_path / 'sweep'}"]
    assert videomae(*command) == 0
    assert videomae(*command, "masking.ratio=0.5") == 2
    assert "begun with another recipe" in capsys.readouterr().err
    assert len(stand_ins.ran) == 2
    assert videomae("pretrain", "-m", *words, "seed=0,1,2", f"run={tmp_path / 'sweep'}") == 0
    assert len(stand_ins.ran) == 3, "further points are welcome"


def test_reuse__takes_what_another_sweep_has_finished_by_the_same_recipe(
    words: list[str], stand_ins: StandIns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "far" / "second"
    stand_ins.failing = "seed-1/finetune"
    assert videomae("pretrain", "-m", *words, *CHAIN, "seed=0,1", f"run={first}") == 1
    before, stand_ins.failing = len(stand_ins.ran), ""
    command = ["pretrain", "-m", *words, *CHAIN, "seed=0,1,2", f"run={second}", f"sweep.reuse=[{first}]"]
    assert videomae(*command) == 0
    missing = [f"{verb} seed-2" for verb in ("pretrain", "finetune", "evaluate")]
    assert stand_ins.ran[before:] == ["finetune seed-1", "evaluate seed-1", *missing]
    assert {point["state"] for point in summary(second).values()} == {"finished"}
    reference = json.loads((second / "seed-0" / "evaluate" / "stage.json").read_text())["run"]
    assert (second / "seed-0" / "evaluate" / reference).resolve() == first / "seed-0" / "evaluate"
    shutil.rmtree(first)
    assert videomae(*command[:-1]) == 0
    assert len(stand_ins.ran) == before + 5 + 4, "what is gone is run again, here"
    assert not first.exists()
    assert not (second / "seed-0" / "evaluate" / "stage.json").exists(), "where reports would look for it"
    assert videomae(*command) == 2
    assert "sweep.reuse" in capsys.readouterr().err


def test_reuse__serves_a_sweep_that_was_recorded_but_not_begun(
    words: list[str], stand_ins: StandIns, tmp_path: Path
) -> None:
    late, other = tmp_path / "late", tmp_path / "other"
    stand_ins.failing = "late/"
    assert videomae("pretrain", "-m", *words, "seed=0", f"run={late}") == 1
    stand_ins.failing = ""
    assert videomae("pretrain", "-m", *words, "seed=0", f"run={other}") == 0
    before = len(stand_ins.ran)
    assert videomae("pretrain", "-m", *words, "seed=0", f"run={late}", f"sweep.reuse=[{other}]") == 0
    assert len(stand_ins.ran) == before


def test_reuse__finds_its_way_through_links(words: list[str], stand_ins: StandIns, tmp_path: Path) -> None:
    (tmp_path / "disk" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "deep")
    first, second = tmp_path / "first", tmp_path / "link" / "second"
    assert videomae("pretrain", "-m", *words, "seed=0", f"run={first}") == 0
    for reuse in ([f"sweep.reuse=[{first}]"], []):
        assert videomae("pretrain", "-m", *words, "seed=0", f"run={second}", *reuse) == 0
        assert len(stand_ins.ran) == 1
    (reference,) = second.glob("*/pretrain/stage.json")
    assert (reference.parent / json.loads(reference.read_text())["run"] / "run.json").is_file()


def test_reuse__writes_no_reference_into_a_run_of_another_recipe(
    words: list[str], stand_ins: StandIns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    changed = "masking.ratio=0.5"
    assert videomae("pretrain", "-m", *words, "seed=0,1", changed, f"run={first}") == 0
    assert videomae("pretrain", "-m", *words, "seed=0,1", f"run={second}") == 0
    reuse = f"sweep.reuse=[{first}]"
    assert videomae("pretrain", "-m", *words, "seed=0,1", changed, f"run={second}", reuse) == 2
    assert "runs of another recipe" in capsys.readouterr().err
    assert not list(second.rglob("stage.json"))


def test_removed_runs__are_forgotten(words: list[str], stand_ins: StandIns, tmp_path: Path) -> None:
    """One recipe, another in its place, and back: a run is never taken for that of the other."""
    sweep = tmp_path / "sweep"
    recipes = ["masking.ratio=0.5", "masking.ratio=0.75", "masking.ratio=0.5"]
    for recipe in recipes:
        shutil.rmtree(sweep / "seed-0", ignore_errors=True)
        shutil.rmtree(sweep / "seed-1", ignore_errors=True)
        assert videomae("pretrain", "-m", *words, "seed=0,1", recipe, f"run={sweep}") == 0
    assert len(stand_ins.ran) == 6
    assert videomae("pretrain", "-m", *words, "seed=0,1", recipes[1], f"run={sweep}") == 2, (
        "the place is taken"
    )
    assert videomae("pretrain", "-m", *words, "seed=0,1", recipes[2], f"run={sweep}") == 0
    assert len(stand_ins.ran) == 6


def test_a_stage_twice__is_refused(
    words: list[str], stand_ins: StandIns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twice = [*words, *CHAIN, "sweep.then=[finetune,finetune,evaluate]", "seed=0,1", f"run={tmp_path / 's'}"]
    assert videomae("pretrain", "-m", *twice) == 2
    assert "finetune twice" in capsys.readouterr().err


def test_a_stage_that_the_sweep_has_not__is_refused(
    words: list[str], stand_ins: StandIns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert videomae("pretrain", "-m", *words, "seed=0,1", "finetune.seed=3", f"run={tmp_path / 's'}") == 2
    assert "sweep.then" in capsys.readouterr().err


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
        for job in jobs:
            with contextlib.suppress(TrainingError):  # which ends the task in Slurm
                sweep_slurm._run_stages(job)
        return [Ended() for _ in jobs]


class Ended:
    def done(self) -> bool:
        return True


arrays: list[Array] = []


def test_slurm__is_an_array_of_what_is_shared_then_one_of_what_is_missing(
    words: list[str], stand_ins: StandIns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitit = pytest.importorskip("submitit")
    monkeypatch.setattr(submitit, "AutoExecutor", Array)
    monkeypatch.setattr(sweep_slurm, "_SECONDS_BETWEEN_LOOKS", 0)
    arrays.clear()
    stand_ins.failing = "base_lr-0.002/finetune"
    slurm = ["launcher=slurm", "trainer.num_nodes=2", "trainer.micro_batch=1", "finetune.trainer.micro_batch=1",
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


def stage_of(folder: Path) -> Stage:
    return Stage("pretrain", "0123456789abcdef", folder / "pretrain", ())


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


# The real thing.


@pytest.fixture(scope="module")
def real_words(packed_motions: Path) -> list[str]:
    own = ["trainer.checkpoint_every_steps=2", f"data.path={packed_motions}", "data.selection=split/train"]
    return [
        *("pretrain", "-m", "model=tiny", *SMALL, *QUICK, *own, *CHAIN, "optim.steps=30"),
        *("masking.ratio=0.5,0.75", "finetune.trainer.checkpoint_every_steps=2"),
    ]


def start(words: list[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "videomae_train.cli", *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def written(sweep: Path) -> dict[str, bytes | object]:
    """Give what two equal sweeps have in common: weights to the bit, and scores."""
    weights = {str(file.relative_to(sweep)): file.read_bytes() for file in sweep.rglob("*.safetensors")}
    return {**weights, **{name: point["score"] for name, point in summary(sweep).items()}}


@pytest.mark.slow
def test_killed_sweep__started_again_ends_as_one_that_was_left_alone(
    real_words: list[str], tmp_path: Path
) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert videomae(*real_words, f"run={straight}") == 0
    process = start([*real_words, f"run={killed}", "sweep.at_once=2"])
    deadline = time.monotonic() + 300
    while not list(killed.glob("*/pretrain/checkpoints/*.ckpt")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert {point["state"] for point in summary(killed).values()} == {"running"}
    assert videomae(*real_words, f"run={killed}", "sweep.at_once=2") == 0
    assert len(written(straight)) == 6
    assert written(killed) == written(straight)
    attempts = [len(list(run.glob("logs/version_*"))) for run in sorted(killed.glob("*/pretrain"))]
    assert max(attempts) == 2, "went on with what was there"


@pytest.mark.slow
def test_interrupted_sweep__stops_its_runs_with_a_checkpoint(real_words: list[str], tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    process = start([*real_words, "optim.steps=100000", f"run={sweep}"])
    deadline = time.monotonic() + 300
    while not list(sweep.glob("*/pretrain/checkpoints/*.ckpt")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    threading.Timer(0, process.send_signal, [signal.SIGTERM]).start()
    assert process.wait(timeout=120) == 75
    assert sorted(point["state"] for point in summary(sweep).values()) == ["stopped", "waiting"]
