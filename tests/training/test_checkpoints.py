"""When a run saves and stops, and that all ranks do so together."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from stepping import Batches, RankBatches, machine, make_module
from torch.utils.data import DataLoader

from videomae_train.errors import CheckpointError
from videomae_train.training import checkpoint_files, checkpoints
from videomae_train.training.agreement import Agreement
from videomae_train.training.checkpoint_files import list_checkpoints, newest_checkpoint, step_of
from videomae_train.training.checkpoints import SavingOptions, StepCheckpoint
from videomae_train.training.module import SteppingModule
from videomae_train.training.preemption import StopRequest
from videomae_train.training.trainer import build_strategy, leave_signals_to_us

TOTAL = 6


class Doing(pl.Callback):
    """Does something on some rank before the step after a given one."""

    def __init__(self, after: int, rank: int, what: Any) -> None:
        self._after, self._rank, self._what = after, rank, what

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, SteppingModule)
        if trainer.global_rank == self._rank and pl_module.step == self._after:
            self._what()


class EndOfRank(pl.Callback):
    """Writes what each rank came to."""

    def __init__(self, folder: Path, saving: StepCheckpoint) -> None:
        self._folder, self._saving = folder, saving

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, SteppingModule)
        end = {"step": pl_module.step, "stopped_by": self._saving.stopped_by}
        (self._folder / f"end{trainer.global_rank}.json").write_text(json.dumps(end))


def run(
    folder: Path,
    *,
    every: int | None = 100,
    minutes: float | None = None,
    clock: Any = time.monotonic,
    stop: StopRequest | None = None,
    also: tuple[pl.Callback, ...] = (),
    world_size: int = 1,
    resume: bool = False,
    until: int = TOTAL,
) -> list[dict[str, Any]]:
    folder.mkdir(exist_ok=True)
    saving = StepCheckpoint(folder, SavingOptions(every, minutes, 9), Agreement(), stop, clock)
    trainer = pl.Trainer(
        accelerator="cpu", devices=world_size, strategy=build_strategy(machine(world_size), "fork"), max_steps=until,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder, callbacks=[*also, saving, EndOfRank(folder, saving)], plugins=[saving.files],
    )  # fmt: skip
    leave_signals_to_us(trainer)
    module = make_module(2, total=TOTAL, world_size=world_size)
    data = RankBatches(2) if world_size > 1 else Batches(0, 2)
    trainer.fit(module, DataLoader(data, batch_size=None), ckpt_path=folder if resume else None)
    return [json.loads((folder / f"end{rank}.json").read_text()) for rank in range(world_size)]


def steps_in(folder: Path) -> list[int]:
    return [step_of(path) for path in list_checkpoints(folder)]


@pytest.fixture
def stop() -> Iterator[StopRequest]:
    with StopRequest() as request:
        yield request


def test_saves__come_every_few_steps_and_at_the_end(tmp_path: Path) -> None:
    run(tmp_path, every=4)
    assert steps_in(tmp_path) == [4, 6]


@pytest.mark.parametrize("every", [100, None])
def test_saves__come_by_the_clock_too_or_alone(every: int | None, tmp_path: Path) -> None:
    now = 0.0

    def later() -> None:
        nonlocal now
        now += 61.0

    run(tmp_path, every=every, minutes=1.0, clock=lambda: now, also=(Doing(2, 0, later), Doing(3, 0, later)))
    # Two micro-batches a step: the clock moves on twice within steps 3 and 4.
    assert steps_in(tmp_path) == [3, 4, 6]


def test_clock__of_rank_0_alone_makes_all_ranks_save(tmp_path: Path) -> None:
    now = 0.0

    def later() -> None:
        nonlocal now  # of this rank: each is a process
        now += 61.0

    ranks = {"also": (Doing(2, 0, later), Doing(4, 1, later)), "world_size": 2}
    run(tmp_path, every=None, minutes=1.0, clock=lambda: now, **ranks)  # type: ignore[arg-type]
    assert steps_in(tmp_path) == [3, 6]


def test_clock__without_minutes_saves_nothing(tmp_path: Path) -> None:
    ticks = iter(range(0, 10**9, 10**6))
    run(tmp_path, clock=lambda: float(next(ticks)))
    assert steps_in(tmp_path) == [6]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT])
def test_signal__ends_the_run_after_the_step_with_a_checkpoint(
    tmp_path: Path, stop: StopRequest, number: signal.Signals
) -> None:
    # In the first micro-batch of step 3; the step has another one.
    ends = run(tmp_path, stop=stop, also=(Doing(2, 0, lambda: stop.number or os.kill(os.getpid(), number)),))
    assert ends == [{"step": 3, "stopped_by": number.name}]
    assert steps_in(tmp_path) == [3]
    ends = run(tmp_path, resume=True)
    assert ends == [{"step": 6, "stopped_by": None}]


def test_signal__in_the_last_step_comes_too_late_to_stop_anything(tmp_path: Path, stop: StopRequest) -> None:
    signalled = Doing(TOTAL - 1, 0, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert run(tmp_path, stop=stop, also=(signalled,)) == [{"step": TOTAL, "stopped_by": None}]


def test_signal__to_one_rank_stops_all_after_the_same_step(tmp_path: Path, stop: StopRequest) -> None:
    signalled = Doing(2, 1, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    ends = run(tmp_path, stop=stop, also=(signalled,), world_size=2)
    assert ends == [{"step": 3, "stopped_by": "SIGUSR1"}] * 2
    assert steps_in(tmp_path) == [3]


def test_failed_save__ends_all_ranks_and_keeps_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_the_disk() -> None:
        def full(_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        until = time.monotonic() + 20
        while (
            steps_in(tmp_path) != [2] and time.monotonic() < until
        ):  # a thread writes it beside the next step
            time.sleep(0.05)
        monkeypatch.setattr(checkpoint_files, "_to_disk", full)  # in rank 0's process only

    by_first = Agreement.by_first

    def watched(self: Agreement, make: Any) -> Any:
        try:
            return by_first(self, make)
        except CheckpointError as error:
            (tmp_path / f"failure{torch.distributed.get_rank()}").write_text(str(error))
            wait_for_both()  # the first process to end has the other terminated
            raise

    def wait_for_both() -> None:
        until = time.monotonic() + 20
        while len(list(tmp_path.glob("failure?"))) < 2 and time.monotonic() < until:
            time.sleep(0.05)

    monkeypatch.setattr(Agreement, "by_first", watched)
    with pytest.raises(Exception, match="could not be written: No space left on device"):
        run(tmp_path, every=2, also=(Doing(3, 0, fill_the_disk),), world_size=2)
    assert steps_in(tmp_path) == [2]
    said = [(tmp_path / f"failure{rank}").read_text() for rank in range(2)]
    assert said[0] == said[1]
    assert "step-00000002.ckpt is kept" in said[0]


def test_ranks__resume_from_the_one_that_rank_0_found_intact(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, every=2, world_size=2)
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    newest.write_bytes(newest.read_bytes()[:-1])

    class Beginning(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            assert isinstance(pl_module, SteppingModule)
            (tmp_path / f"begin{trainer.global_rank}").write_text(f"at {pl_module.step}")

    assert [end["step"] for end in run(tmp_path, world_size=2, resume=True, also=(Beginning(),))] == [6, 6]
    assert [(tmp_path / f"begin{rank}").read_text() for rank in range(2)] == ["at 4", "at 4"]
    assert capfd.readouterr().err.count("step-00000006.ckpt.damaged") == 1


def test_loading__maps_the_file_and_writes_nothing_into_it(tmp_path: Path) -> None:
    run(tmp_path, until=2)
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    loaded = StepCheckpoint(tmp_path, SavingOptions(None, None, 1)).files.load_checkpoint(tmp_path)
    assert str(newest) in Path("/proc/self/maps").read_text()
    moment = loaded["optimizer_states"][0]["state"][0]["exp_avg"]
    before = moment.clone()
    moment += 1
    assert checkpoint_files.damage_of(newest) is None
    newest.unlink()  # as when newer ones are there
    assert torch.equal(moment, before + 1)


class Gate:
    """Holds back what is being written until it is opened, and notes at which step that was."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = threading.Event()
        write = checkpoints.write_checkpoint

        def held(state: Any, path: Path) -> None:
            assert self.opened.wait(60)
            write(state, path)

        monkeypatch.setattr(checkpoints, "write_checkpoint", held)


def test_writing__goes_on_beside_the_steps_and_holds_the_state_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "at once", every=2, until=2)
    gate = Gate(monkeypatch)
    there_before: list[list[int]] = []

    def open_gate() -> None:
        there_before.append(steps_in(tmp_path / "beside"))
        gate.opened.set()

    run(tmp_path / "beside", every=2, also=(Doing(3, 0, open_gate),))
    assert there_before[0] == [], "step 3 ran while the checkpoint of step 2 was still to be written"
    assert steps_in(tmp_path / "beside") == [2, 4, 6]
    before, beside = (
        torch.load(tmp_path / name / "step-00000002.ckpt", weights_only=True)
        for name in ("at once", "beside")
    )
    assert before["state_dict"].keys() == beside["state_dict"].keys()
    for name, tensor in before["state_dict"].items():
        assert torch.equal(beside["state_dict"][name], tensor), name
    moments = [each["optimizer_states"][0]["state"][0]["exp_avg"] for each in (before, beside)]
    assert torch.equal(*moments)


def test_writing__that_failed_is_said_at_the_end_of_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = threading.Event()

    def full(*_: object) -> None:
        failed.set()
        raise CheckpointError(where="disk", came="no room", expected="room", todo="Make some.")

    def wait() -> None:
        assert failed.wait(60)
        time.sleep(0.5)  # until the thread has handed it over

    monkeypatch.setattr(checkpoints, "write_checkpoint", full)
    begun: list[int] = []
    noting = [Doing(after, 0, lambda after=after: begun.append(after)) for after in range(TOTAL)]
    with pytest.raises(CheckpointError, match="no room"):
        run(tmp_path, every=2, also=(*noting, Doing(2, 0, wait)))
    assert max(begun) == 2, "step 3 was the last, though the next save comes after step 4"


def test_error__lets_the_checkpoint_that_is_being_written_become_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)

    def fail() -> None:
        threading.Timer(0.2, gate.opened.set).start()
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        run(tmp_path, every=2, also=(Doing(3, 0, fail),))
    assert steps_in(tmp_path) == [2]
    assert checkpoint_files.damage_of(tmp_path / "step-00000002.ckpt") is None
