"""Killed and stopped runs go on, and end as the run that was left alone."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import wandb
from attempts import assert_same_run, die_while_saving, end_of, final_state, num_steps, start, wait_for
from command_line import QUICK, SMALL, videomae

from videomae_train.data.pack_plan import PackOptions
from videomae_train.data.packing import pack
from videomae_train.data.sources import open_source
from videomae_train.model import load_pretraining_model
from videomae_train.training.checkpoint_files import list_checkpoints, newest_checkpoint
from videomae_train.training.folder_lock import LOCK
from videomae_train.training.ledger import read_ledger
from videomae_train.training.records import LEDGER, read_metric

STEPS = 12


@pytest.fixture(scope="module")
def recipe(packed_motions: Path) -> list[str]:
    machine = ["trainer.checkpoint_every_steps=2", "trainer.log_every_steps=3", "trainer.threads=1"]
    data = [f"data.path={packed_motions}", "data.selection=split/train", "data.views=2"]
    return ["model=tiny", *SMALL, *QUICK, *machine, *data, f"optim.steps={STEPS}"]


@pytest.fixture(scope="module")
def straight(recipe: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("straight") / "run"
    assert end_of(start("pretrain", *recipe, f"run={run}")) == 0
    return run


def test_two_kills__change_nothing(recipe: list[str], straight: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["pretrain", *recipe, f"run={run}", "resume=auto"]
    process = start(*command)
    steps_before = random.randrange(3, STEPS - 3)  # whenever: any moment must do
    wait_for(lambda: num_steps(run) >= steps_before)
    os.kill(process, signal.SIGKILL)
    assert end_of(process) == -signal.SIGKILL
    # Then in the middle of the next save: the file is written, and has neither checksum nor name.
    assert end_of(start(*command, before=die_while_saving(1, "_write_checksum"))) == -signal.SIGKILL
    assert list((run / "checkpoints").glob("*.unfinished"))
    (run / "checkpoints" / "step-00000001.unfinished").touch()  # of a save that this attempt will not repeat
    # By its folder alone, as it was.
    assert end_of(start("pretrain", f"run={run}")) == 0
    assert_same_run(run, straight, STEPS)
    assert not list((run / "checkpoints").glob("*.unfinished"))


@pytest.fixture
def stopped(recipe: list[str], tmp_path: Path) -> Path:
    """A run that SIGUSR1 stopped early."""
    run = tmp_path / "run"
    process = start("pretrain", *recipe, f"run={run}", said=tmp_path / "said")
    wait_for(lambda: num_steps(run) >= 3)
    os.kill(process, signal.SIGUSR1)
    assert end_of(process) == 75
    return run


def test_signal__stops_with_a_checkpoint_and_without_weights(
    recipe: list[str], straight: Path, stopped: Path, tmp_path: Path
) -> None:
    checkpoint = newest_checkpoint(stopped / "checkpoints")
    assert checkpoint is not None
    step = int(checkpoint.stem.removeprefix("step-"))
    assert 3 <= step < STEPS
    assert list(read_ledger(stopped / LEDGER)) == list(range(1, step + 1))
    assert not (stopped / "weights").exists()
    assert not (stopped / "run.json").exists()
    said = (tmp_path / "said").read_text()
    assert f"Stopped by SIGUSR1 at step {step}, checkpoint {checkpoint}." in said
    assert "resume=auto" in said
    assert "Traceback" not in said
    # On a machine that takes other micro-batches: the same samples, and the same weights but for rounding.
    other = ["trainer.micro_batch=1", "trainer.log_every_steps=1", "resume=auto"]
    goes_on = tmp_path / "goes on"
    assert end_of(start("pretrain", *recipe, *other, f"run={stopped}", said=goes_on)) == 0
    assert f"{STEPS} steps, the last {STEPS - step} of them in " in goes_on.read_text()
    assert read_ledger(stopped / LEDGER) == read_ledger(straight / LEDGER)
    ours, theirs = final_state(stopped, STEPS), final_state(straight, STEPS)
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 1e-5


def test_same_command_twice__the_second_is_refused_and_the_first_ends_as_if_alone(
    recipe: list[str], straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    command = ["pretrain", *recipe, f"run={run}", "resume=auto"]
    process = start(*command)
    wait_for(lambda: num_steps(run) >= 3)
    os.kill(process, signal.SIGSTOP)  # it must not end before the second has looked, nor write meanwhile
    try:
        before = bytes_of(run)
        for second in (command, ["pretrain", f"run={run}"]):
            assert videomae(*second) == 2
            assert f"{run}, in use by process {process} on " in capsys.readouterr().err
        assert videomae(*command, "seed=7") == 2
        assert bytes_of(run) == before
    finally:
        os.kill(process, signal.SIGCONT)
    assert end_of(process) == 0
    assert_same_run(run, straight, STEPS)
    assert not (run / LOCK).exists()


def bytes_of(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_taken_over__a_run_ends_before_its_next_checkpoint(recipe: list[str], tmp_path: Path) -> None:
    """As on a file system whose locks do not reach the other machine."""
    run, said = tmp_path / "run", tmp_path / "said"
    longer = ["optim.steps=200", "trainer.checkpoint_every_steps=20"]
    process = start("pretrain", *recipe, *longer, f"run={run}", said=said)
    wait_for(lambda: num_steps(run) >= 3)
    later = {
        "host": "n2",
        "process": 4711,
        "job": None,
        "restarts": 0,
        "since": "just now",
        "token": "another",
    }
    (run / LOCK).write_text(json.dumps(later))
    assert end_of(process) == 1
    assert "process 4711 on n2 (since just now) has taken this run over" in said.read_text()
    assert "Traceback" not in said.read_text()
    assert json.loads((run / LOCK).read_text()) == later


def test_finished_run__says_so_and_changes_nothing(
    recipe: list[str], straight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file: file.stat().st_mtime_ns for file in (straight / "weights").rglob("*")}
    logs = sorted(straight.glob("logs/*"))
    # A machine without the run's GPUs can say that there is nothing left for them.
    elsewhere = [*recipe, "resume=auto", f"run={straight}", "trainer.accelerator=gpu", "trainer.devices=1"]
    for command in ([*recipe, "resume=auto", f"run={straight}"], elsewhere, [f"run={straight}"]):
        assert videomae("pretrain", *command) == 0
        assert f"This run is finished: {STEPS} steps" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in (straight / "weights").rglob("*")} == before
    assert sorted(straight.glob("logs/*")) == logs


def test_finished_run__is_extended_on_request_only(
    recipe: list[str], straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(straight, run)
    longer = [*recipe[:-1], f"optim.steps={STEPS + 4}", "resume=auto", f"run={run}"]
    assert videomae("pretrain", *longer) == 2
    assert f"optim.steps: {STEPS} -> {STEPS + 4}" in capsys.readouterr().err
    assert videomae("pretrain", *longer, "allow_changes=[optim.steps]") == 0
    assert read_metric(run, "train/loss")[0][-1] == STEPS + 4
    assert json.loads((run / "run.json").read_text())["steps"] == STEPS + 4
    # What was recorded stays, and what comes is new.
    assert list(read_ledger(run / LEDGER)) == list(range(1, STEPS + 5))
    assert read_ledger(run / LEDGER).items() >= read_ledger(straight / LEDGER).items()


def test_refused_by_its_checkpoint__a_run_keeps_its_record(
    recipe: list[str],
    straight: Path,
    motion_videos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Or `run=<folder>` alone would go on with what was refused."""
    run, others = tmp_path / "run", tmp_path / "others"
    shutil.copytree(straight, run)
    before = (run / "recipe.json").read_text()
    pack(open_source(motion_videos), others, PackOptions(seed=1, shard_max_videos=3), lambda progress: None)
    longer = [f"optim.steps={STEPS + 4}", "allow_changes=[optim.steps]", f"data.path={others}"]
    assert videomae("pretrain", *recipe, *longer, f"run={run}", "resume=auto") == 1
    assert "data.fingerprint" in capsys.readouterr().err
    assert (run / "recipe.json").read_text() == before


def test_only_damaged_checkpoints__are_no_beginning(
    recipe: list[str], straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The attempt that finds them moves them aside and ends; the next one must not write over the run's records."""
    run = tmp_path / "run"
    shutil.copytree(straight, run)
    (run / "run.json").unlink()
    for checkpoint in list_checkpoints(run / "checkpoints"):
        checkpoint.write_bytes(b"damaged")
    recorded = read_ledger(run / LEDGER)
    for _ in range(2):
        assert videomae("pretrain", *recipe, f"run={run}", "resume=auto") == 1
        assert "no intact checkpoint" in capsys.readouterr().err
    assert len(read_ledger(run / LEDGER)) == len(recorded)


def test_every_checkpoint__is_a_source_of_a_weights_folder(straight: Path, tmp_path: Path) -> None:
    older, newest = list_checkpoints(straight / "checkpoints")
    for checkpoint in (older, newest):
        assert videomae("convert", checkpoint, tmp_path / checkpoint.stem) == 0
    ours = load_pretraining_model(tmp_path / newest.stem).state_dict()
    theirs = load_pretraining_model(straight / "weights").state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert (tmp_path / older.stem / "model.safetensors").read_bytes() != (
        tmp_path / newest.stem / "model.safetensors"
    ).read_bytes()


def test_killed_before_the_weights__a_resume_writes_them(straight: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(straight, run)
    shutil.rmtree(run / "weights")
    (run / "run.json").unlink()
    assert videomae("pretrain", f"run={run}") == 0
    assert_same_run(run, straight, STEPS)


@pytest.mark.slow
def test_wandb__knows_a_killed_and_resumed_run_as_one(recipe: list[str], tmp_path: Path) -> None:
    run, told = tmp_path / "run", tmp_path / "told"
    wandb.teardown()  # a service of this process would be that of those that it forks

    def note_calls() -> None:
        original = wandb.init

        def noting(**arguments: object) -> object:
            with told.open("a") as file:
                file.write(json.dumps({name: arguments.get(name) for name in ("id", "resume")}) + "\n")
            return original(**arguments)

        wandb.init = noting

    command = ["pretrain", *recipe, "logger=offline", f"run={run}", "resume=auto"]
    process = start(*command, before=note_calls)
    wait_for(lambda: num_steps(run) >= 3)
    os.kill(process, signal.SIGKILL)
    assert end_of(process) == -signal.SIGKILL
    assert end_of(start(*command, before=note_calls)) == 0
    name = (run / "wandb_run_id.txt").read_text().strip()
    calls = [json.loads(line) for line in told.read_text().splitlines()]
    assert calls == [{"id": name, "resume": "allow"}] * 2
    records = sorted(run.glob("wandb/offline-run-*"))
    assert len(records) == 2
    for record in records:
        assert record.name.endswith(f"-{name}")
        assert (record / f"run-{name}.wandb").is_file()


def test_full_disk__is_an_error_and_the_run_goes_on_later(
    recipe: list[str], straight: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"

    def small_disk() -> None:
        """Files may have 20 kB: enough for records, not for checkpoints, whose writing fails as on a full disk."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    said = tmp_path / "said"
    assert end_of(start("pretrain", *recipe, f"run={run}", before=small_disk, said=said)) == 1
    assert "step-00000002.ckpt: it could not be written: File too large" in said.read_text()
    assert "Traceback" not in said.read_text()
    assert end_of(start("pretrain", *recipe, f"run={run}", "resume=auto")) == 0
    assert_same_run(run, straight, STEPS)


@pytest.mark.slow
def test_signal_to_all_processes__of_two_ranks_with_workers(
    recipe: list[str], straight: Path, tmp_path: Path
) -> None:
    """As Slurm and terminals send it: ranks and their loader workers all get it at once."""
    run = tmp_path / "run"
    two = ["trainer.devices=2", "trainer.micro_batch=1", "loader.num_workers=1", "trainer.log_every_steps=1"]
    command = [str(Path(sys.executable).parent / "videomae"), "pretrain", *recipe, *two, f"run={run}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(lambda: num_steps(run) >= 3)
    os.killpg(process.pid, signal.SIGTERM)
    said = process.communicate()[1]
    assert process.returncode == 75, said
    assert "Traceback" not in said
    assert newest_checkpoint(run / "checkpoints") is not None
    # From two ranks to one, by the folder alone but for the machine.
    assert end_of(start("pretrain", *recipe, "resume=auto", f"run={run}")) == 0
    assert read_ledger(run / LEDGER) == read_ledger(straight / LEDGER)
