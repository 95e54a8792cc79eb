"""Where a run is, judged from what lies in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from videomae_train.reporting.facts import State
from videomae_train.training.heartbeats import host_name, process_is_running

_RECENT_SEC = 900.0  # longer than a checkpoint, a compilation or a slow report
_REASON_LINES = 6


@dataclass(frozen=True)
class Signs:
    """What a folder says about its run's state.

    Attributes:
        attempt: attempt.json; empty where it is missing.
        summary: run.json, which a run writes at its end; empty where it is missing.
        rank_failures: Reasons that ranks wrote down.
        last_sign: When a file of the folder last changed, in seconds since 1970; None without any.
        has_reports: Whether it reported once.
    """

    attempt: Mapping[str, Any]
    summary: Mapping[str, Any]
    rank_failures: tuple[str, ...]
    last_sign: float | None
    has_reports: bool


def judge_state(signs: Signs, now: datetime) -> State:
    """Decide where a run is.

    A process that was killed writes no end. On its own machine it is looked for; of others, and of runs that kept no
    attempt.json, only the age of the last sign is known, and past 15 minutes it is called silent, not failed.
    """
    attempt, total = signs.attempt, signs.attempt.get("total_steps")
    # A finished run that is extended keeps its summary until its new end.
    if signs.summary and total in (None, signs.summary.get("steps")):
        return State("finished", "finished")
    if attempt.get("failure"):
        return _failed(str(attempt["failure"]))
    if attempt.get("stopped_by"):
        return State("preempted", f"stopped by {attempt['stopped_by']}, saved, worth starting again")
    if signs.rank_failures:
        return _failed("\n".join(signs.rank_failures))
    if signs.last_sign is None or not (attempt or signs.has_reports):
        return State("not started", "no training step was reported")
    age = max(0.0, now.timestamp() - signs.last_sign)
    seen = f"last sign of life {_ago(age)} before this page"
    process = attempt.get("process") if attempt.get("host") == host_name() else None
    is_known = isinstance(process, int)
    if isinstance(process, int) and not process_is_running(process):
        return _failed(f"its process is gone without a word: killed, or the machine went down; {seen}")
    if age > _RECENT_SEC and is_known:
        return State("silent", f"unfinished; its process {process} is there, but {seen}: it may hang")
    if age > _RECENT_SEC:
        return State("silent", f"unfinished; {seen}: it may have been killed")
    return State("running", f"running; {seen}")


def _failed(reason: str) -> State:
    lines = reason.strip().splitlines()
    cut = ["…"] if len(lines) > _REASON_LINES else []
    return State("failed", "\n".join([*cut, *lines[-_REASON_LINES:]]))


def _ago(seconds: float) -> str:
    """Say how long something took, roughly.

    >>> _ago(50), _ago(5000), _ago(2e5)
    ('50 s', '1.4 h', '2.3 days')
    """
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size or (unit == "h" and seconds >= size):
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
