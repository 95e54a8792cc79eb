"""Jobs of a sweep on this machine, one after the other or several at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from types import FrameType, TracebackType

import torch

from videomae_train.commands.sweep_jobs import Job, StageEnd, run_stage
from videomae_train.commands.sweep_record import SweepRecord
from videomae_train.training.preemption import PARENT, handling, heeded, leave_terminal

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class LocalRunner:
    """Runs jobs; a `with` block, in which signals stop every process after its step.

    Args:
        record: Hears how stages begin and end.
        at_once: Jobs beside each other.
        devices: Devices that the largest stage needs; with GPUs, each job gets as many of its own as there are.
    """

    def __init__(self, record: SweepRecord, *, at_once: int, devices: int) -> None:
        self.stopped_by: signal.Signals | None = None
        self._record = record
        self._environments = _environments(at_once, devices)
        self._waiting: list[Job] = []
        self._num_begun = 0  # jobs that have not ended
        self._changed = threading.Condition()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.RLock()  # a signal may come while the main thread holds it
        self._handling = ExitStack()

    def __enter__(self) -> LocalRunner:
        self._handling.enter_context(handling(heeded(_SIGNALS), self._stop))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handling.close()

    def run(self, jobs: Sequence[Job]) -> None:
        """Run jobs to their end, the first of those first whose needs are there; a failure ends only what needs it."""
        self._waiting = list(jobs)
        with ThreadPoolExecutor(len(self._environments)) as threads:
            workers = [threads.submit(self._work, environment) for environment in self._environments]
            wait(workers)
        for worker in workers:
            worker.result()

    def _work(self, environment: Mapping[str, str]) -> None:
        while (job := self._next()) is not None:
            try:
                self._run_job(job, environment)
            finally:
                with self._changed:
                    self._num_begun -= 1
                    self._changed.notify_all()

    def _next(self) -> Job | None:
        """Give the first job whose needs are there, as soon as there is one; None where there will be none."""
        with self._changed:
            while self.stopped_by is None and self._waiting:
                for job in self._waiting:
                    if all(stage.is_finished for stage in job.needs):
                        self._waiting.remove(job)
                        self._num_begun += 1
                        return job
                if self._num_begun == 0:
                    break  # what the others need has failed
                self._changed.wait()
            return None

    def _run_job(self, job: Job, environment: Mapping[str, str]) -> None:
        for stage in job.stages:
            if self.stopped_by is not None:
                return
            self._record.begin(stage)
            try:
                end = run_stage(stage, {**environment, PARENT: str(os.getpid())}, self._started)
            except OSError as error:  # no room for its log, no process to be had
                end = StageEnd("failed", f"it could not be started: {error}", 1)
            self._record.end(stage, end)
            if end.state != "finished":
                return

    def _started(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._running = {each for each in self._running if each.returncode is None} | {process}
        if self.stopped_by is not None:
            process.terminate()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Pass it on: a terminal's Ctrl-C has reached the processes too, for which a second signal is none."""
        self.stopped_by = self.stopped_by or signal.Signals(number)
        if number == signal.SIGHUP:
            leave_terminal()
        with self._lock:
            for process in self._running:
                process.terminate()


def _environments(at_once: int, devices: int) -> list[dict[str, str]]:
    """Share the GPUs of this machine out, so that jobs beside each other do not all take the first."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    given = [name.strip() for name in visible.split(",") if name.strip()] if visible else []
    names = given or [str(number) for number in range(torch.cuda.device_count())]
    if at_once == 1 or len(names) < 2:
        return [{} for _ in range(at_once)]
    shares = [
        [names[(slot * devices + number) % len(names)] for number in range(devices)]
        for slot in range(at_once)
    ]
    return [{"CUDA_VISIBLE_DEVICES": ",".join(dict.fromkeys(share))} for share in shares]
