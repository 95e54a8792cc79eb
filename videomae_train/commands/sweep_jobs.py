"""Stages of a sweep as processes of their own, so that nothing of one run is left in the next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from videomae_train.config.sweep_plan import Stage
from videomae_train.training.preemption import EXIT_INTERRUPTED, EXIT_PREEMPTED

_LONGEST_REASON = 400
# A child of a submitted job is an ordinary run under srun, not the job that submitit waits for.
_OF_SUBMITIT = "SUBMITIT_"


@dataclass(frozen=True)
class Job:
    """Stages that run one after the other; the next one only if the one before ended well.

    Attributes:
        name: For messages.
        stages: In their order.
        needs: Stages of other jobs that have to be there before.
    """

    name: str
    stages: tuple[Stage, ...]
    needs: tuple[Stage, ...] = ()


@dataclass(frozen=True)
class StageEnd:
    """How a stage ended: stopped is by a signal, worth starting again."""

    state: Literal["finished", "failed", "stopped"]
    reason: str
    exit_code: int


Started = Callable[["subprocess.Popen[bytes]"], None]


def run_stage(
    stage: Stage,
    environment: Mapping[str, str],
    started: Started,
    *,
    to_log: bool = True,
    prepare: Callable[[], None] | None = None,
) -> StageEnd:
    """Run a stage to its end, unless it is there already.

    Args:
        stage: The stage.
        environment: Variables beside this process's.
        started: Hears of the process.
        to_log: Add what it prints to the stage's log, instead of printing it here.
        prepare: Called in the new process before its program begins; only where this process has one thread.
    """
    if stage.is_finished:
        return StageEnd("finished", "", 0)
    stage.log.parent.mkdir(parents=True, exist_ok=True)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OF_SUBMITIT)}
    with stage.log.open("ab") as log:
        began = log.tell()
        process = subprocess.Popen(
            command(stage), env={**inherited, **environment}, stdin=subprocess.DEVNULL,
            stdout=log if to_log else None, stderr=subprocess.STDOUT if to_log else None, preexec_fn=prepare,
        )  # fmt: skip
        started(process)
        code = process.wait()
    return _end(stage, code, began)


def command(stage: Stage) -> list[str]:
    """Give the command line that runs a stage."""
    return [sys.executable, "-m", "videomae_train.cli", stage.verb, *stage.words]


def reason_in_log(log: Path, after: int = 0) -> str:
    """Find in a log why what wrote it failed: its last error message, else its last line; "" where there is none.

    Args:
        log: A file that may be missing.
        after: Byte at which the attempt began.
    """
    text = log.read_bytes()[after:].decode(errors="replace") if log.is_file() else ""
    _, found, message = text.rpartition("Error: ")
    lines = (message if found else text).strip().splitlines()
    reason = " ".join(" ".join(lines if found else lines[-1:]).split())
    return f"{reason[:_LONGEST_REASON]} ..." if len(reason) > _LONGEST_REASON else reason


def _end(stage: Stage, code: int, began: int) -> StageEnd:
    if code == 0 and stage.is_finished:
        return StageEnd("finished", "", 0)
    if code in (EXIT_PREEMPTED, EXIT_INTERRUPTED, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP):
        return StageEnd("stopped", "by a signal; the same command goes on", code)
    reason = reason_in_log(stage.log, began)
    if code < 0:
        reason = f"its process was ended by {signal.Signals(-code).name}. {reason}".strip()
    return StageEnd("failed", reason or f"exit code {code}", code)


def missing(jobs: Sequence[Job]) -> list[Job]:
    """Leave out finished stages, and jobs that have no others."""
    left = [
        replace(job, stages=tuple(stage for stage in job.stages if not stage.is_finished)) for job in jobs
    ]
    return [job for job in left if job.stages]
