"""Where a run is, judged from what lies in its folder."""

import doctest
import os
from typing import Any

import pytest
from run_folders import ATTEMPT, NOW

from videomae_train.reporting import comparing, runs_page, states, wording
from videomae_train.reporting.states import Signs, judge_state
from videomae_train.training.heartbeats import host_name

RECENT, LONG_AGO = NOW.timestamp() - 40, NOW.timestamp() - 3 * 3600


def judged(
    attempt: dict[str, Any] | None = None,
    summary: dict[str, Any] | None = None,
    failures: tuple[str, ...] = (),
    last_sign: float | None = RECENT,
    has_reports: bool = True,
) -> tuple[str, str]:
    whole = {} if attempt is None else {**ATTEMPT, **attempt}
    state = judge_state(Signs(whole, summary or {}, failures, last_sign, has_reports), NOW)
    return state.name, state.words


def test_a_run_that_writes__is_running_and_says_when_it_last_did() -> None:
    assert judged({}) == ("running", "running; last sign of life 40 s before this page")
    assert judged(None)[0] == "running", "runs of before attempt.json"


def test_a_run_that_has_stopped_writing__is_silent_not_failed() -> None:
    name, words = judged({}, last_sign=LONG_AGO)
    assert name == "silent"
    assert "3.0 h" in words


def test_a_process_of_this_machine__is_looked_for() -> None:
    here = {"host": host_name(), "process": os.getpid()}
    assert judged(here)[0] == "running"
    gone = judged({**here, "process": 2**22 + 1})  # beyond the kernel's highest number
    assert gone[0] == "failed"
    assert "without a word" in gone[1]
    name, words = judged(here, last_sign=LONG_AGO)
    assert name == "silent"
    assert f"its process {os.getpid()} is there" in words, "it was not killed"


@pytest.mark.parametrize("process", [None, "1", {}])
def test_a_process_that_is_no_number__is_not_looked_for(process: object) -> None:
    assert judged({"host": host_name(), "process": process})[0] == "running"


def test_a_failure__is_told_by_its_last_lines() -> None:
    reason = "\n".join(["OSError: first", *(f"line {n}" for n in range(9))])
    name, words = judged({"failure": reason})
    assert name == "failed"
    assert words.splitlines()[0] == "…"
    assert words.splitlines()[-1] == "line 8"
    assert judged({}, failures=("rank 3: TrainingError: it died",)) == (
        "failed",
        "rank 3: TrainingError: it died",
    )


def test_a_signal__is_a_preemption() -> None:
    name, words = judged({"stopped_by": "SIGUSR1"}, last_sign=LONG_AGO)
    assert name == "preempted"
    assert "SIGUSR1" in words


@pytest.mark.parametrize("attempt", [None, {}, {"ended": "2020-01-02T11:30:00+00:00"}])
def test_a_summary__is_the_end(attempt: dict[str, Any] | None) -> None:
    assert judged(attempt, {"steps": 4}, last_sign=LONG_AGO)[0] == "finished"


def test_a_finished_run_that_is_extended__is_running_again() -> None:
    assert judged({"total_steps": 8}, {"steps": 4})[0] == "running"


def test_nothing__has_not_started() -> None:
    assert judged(last_sign=None, has_reports=False)[0] == "not started"
    assert judged(has_reports=False)[0] == "not started"


def test_examples() -> None:
    for module in (states, comparing, wording, runs_page):
        assert doctest.testmod(module).failed == 0
