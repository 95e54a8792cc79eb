"""End a run of several ranks, with the name of the rank, when one of them dies or hangs.

A rank that is gone leaves the others waiting in a collective, where no Python code runs and no exception says whom they
wait for. So every rank has a thread that writes signs of life; rank 0 watches all ranks, and they watch rank 0.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.utilities.distributed import (
    _destroy_dist_connection,  # pyright: ignore[reportPrivateUsage]
)

from videomae_train.child_ranks import leave_child_ranks_to_another
from videomae_train.errors import ConfigError
from videomae_train.training.heartbeats import (
    Heartbeat,
    host_name,
    node_name,
    read_heartbeat,
    remove_heartbeat,
    write_heartbeat,
)
from videomae_train.training.module import SteppingModule
from videomae_train.training.sightings import Sighting, Verdict, judge, judge_progress

_SHORTEST_TIMEOUT_SEC = 5.0
_TICK_SEC = 0.5
_LONGEST_BEAT_SEC = 10.0
_BEATS_IN_TIMEOUT = 10
# A rank that failed has reasons that the others often have too, and then say themselves.
_GRACE_SEC = 15.0
_BEATS_OF_SILENCE = 3
_BEATS_TO_FIND = 6
# Longer than this watch takes to find who died.
_SECOND_WATCH_SEC = 120.0


class RankWatch(pl.Callback):
    """Write this rank's signs of life and watch the others'.

    Args:
        folder: Where the files go; all nodes see it.
        timeout_sec: How long a rank may say nothing, or all may stand still.

    Raises:
        ConfigError: A time so short that a busy machine exceeds it.
    """

    def __init__(self, folder: Path, *, timeout_sec: float) -> None:
        if timeout_sec < _SHORTEST_TIMEOUT_SEC:
            raise ConfigError(
                where="trainer.rank_timeout_sec",
                came=f"{timeout_sec:g}",
                expected=f"at least {_SHORTEST_TIMEOUT_SEC:g} s, and longer than the slowest checkpoint",
                todo="Leave it out for the usual 10 minutes.",
            )
        self._folder, self._timeout_sec = folder, timeout_sec
        self._beat_sec = min(_LONGEST_BEAT_SEC, timeout_sec / _BEATS_IN_TIMEOUT)
        self._own = Heartbeat(0, node_name(), host_name(), os.getpid(), 0, 0, 0, "starting", None)
        self._sightings: dict[int, Sighting] = {}
        self._starts_ranks = False
        self._count = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rank watch", daemon=True)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Begin, now that the ranks have found each other."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._own = replace(self._own, rank=trainer.global_rank)
        self._beat()
        trainer.strategy.barrier("signs of life")  # past it, none is of an earlier attempt
        now = time.monotonic()
        for rank in range(trainer.world_size) if trainer.is_global_zero else (0,):
            self._sightings[rank] = Sighting(None, now, now)
        environment = trainer._accelerator_connector.cluster_environment  # pyright: ignore[reportPrivateUsage]
        self._starts_ranks = isinstance(environment, LightningEnvironment)
        leave_child_ranks_to_another(_SECOND_WATCH_SEC)
        self._thread.start()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen to what happens beside the steps."""
        assert isinstance(pl_module, SteppingModule)
        pl_module.signs.append(lambda doing: self._get_on(pl_module, doing))

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note that the data came."""
        self._get_on(pl_module, "computing")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note that the micro-batch is done."""
        self._get_on(pl_module, "waiting for data")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """End as it should."""
        if self._stop_thread():
            remove_heartbeat(self._folder, self._own.rank)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Say why this rank ends; where the cause is another rank, find out which.

        Raises:
            TrainingError: Another rank died, failed or fell silent.
        """
        if not self._stop_thread():
            return  # the ranks had not found each other yet
        verdict = self._find_culprit() if _comes_from_another_rank(exception) else None
        error = exception if verdict is None else verdict.error(self._timeout_sec)
        self._own = replace(self._own, failure=f"{type(error).__name__}: {error}")
        self._beat()
        if verdict is not None:
            # Lightning's would wait at the exit for what was under way between GPUs, until that times out.
            atexit.unregister(_destroy_dist_connection)
            raise error from exception

    def _get_on(self, module: pl.LightningModule, doing: str) -> None:
        assert isinstance(module, SteppingModule)
        # Only the training loop's thread changes this, and only the watching thread counts beats.
        self._own = replace(self._own, progress=self._own.progress + 1, step=module.step, doing=doing)

    def _stop_thread(self) -> bool:
        if not self._thread.is_alive():
            return False
        self._ending.set()
        self._thread.join(
            self._timeout_sec
        )  # it may wait for a slow file system, or be about to end the process
        return True

    def _run(self) -> None:
        beat_at = passed_at = time.monotonic()
        while not self._ending.wait(_TICK_SEC):
            if time.monotonic() >= beat_at:
                self._beat()
                self._look()
                beat_at += self._beat_sec
            passed_at = self._excuse_since(passed_at)
            verdict = self._judge(silence_sec=self._timeout_sec, grace_sec=_GRACE_SEC)
            if verdict is not None and not self._ending.is_set():
                self._end_process(verdict)

    def _beat(self) -> None:
        self._count += 1
        try:
            write_heartbeat(self._folder, replace(self._own, beat=self._count))
        except OSError as error:  # training may outlive a moment without the file system
            print(f"{self._own.name} cannot write its sign of life: {error}", file=sys.stderr)

    def _look(self) -> None:
        now = time.monotonic()
        for rank, seen in self._sightings.items():
            # A file that cannot be read is no sign of life: the rank's silence goes on.
            with contextlib.suppress(OSError):
                self._sightings[rank] = seen.updated(read_heartbeat(self._folder, rank), now)

    def _excuse_since(self, passed_at: float) -> float:
        """Count no silence while this rank was stopped or waited for the file system; give the time of this pass."""
        now = time.monotonic()
        unwatched_sec = now - passed_at - _TICK_SEC - self._beat_sec
        if unwatched_sec > 0:
            for rank, seen in self._sightings.items():
                self._sightings[rank] = seen.excused(unwatched_sec, now)
        return now

    def _judge(self, *, silence_sec: float, grace_sec: float) -> Verdict | None:
        now = time.monotonic()
        others = {rank: seen for rank, seen in self._sightings.items() if rank != self._own.rank}
        verdict = judge(others, now, silence_sec=silence_sec, grace_sec=grace_sec)
        if verdict is None and self._own.rank == 0:
            return judge_progress(self._sightings, now, timeout_sec=self._timeout_sec)
        return verdict

    def _find_culprit(self) -> Verdict | None:
        """Watch for some beats more: who has died stays silent, and rank 0 tells the others what it finds."""
        for _ in range(_BEATS_TO_FIND):
            self._look()
            verdict = self._judge(silence_sec=_BEATS_OF_SILENCE * self._beat_sec, grace_sec=0)
            if verdict is not None:
                return verdict
            self._beat()
            time.sleep(self._beat_sec)
        return None

    def _end_process(self, verdict: Verdict) -> NoReturn:
        """End from this thread: the training loop's is inside a collective that nothing interrupts."""
        error = verdict.error(self._timeout_sec)
        print(f"Error: {error}", file=sys.stderr, flush=True)
        self._own = replace(self._own, failure=f"{type(error).__name__}: {error}")
        self._beat()
        if (
            self._starts_ranks
        ):  # srun and torchrun end what is left; Lightning leaves stopped processes behind
            for heartbeat in verdict.ranks:
                if heartbeat.is_here and heartbeat.process != os.getpid():
                    os.kill(heartbeat.process, signal.SIGKILL)
        os._exit(error.exit_code)


def _comes_from_another_rank(exception: BaseException) -> bool:
    # gloo raises a plain RuntimeError, whose message names its source file; NCCL's may be plain, too.
    said = str(exception)
    return isinstance(exception, torch.distributed.DistError) or "gloo" in said or "NCCL" in said
