from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from videomae_train.data.children import Ended, children_at_work
from videomae_train.errors import VideoMAETrainError


def work(item: int | str) -> object:
    """Stands in for a decoder: numbers are fine, words are not."""
    match item:
        case "hang":
            time.sleep(1000)
        case "abort":
            os.abort()
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise":
            raise KeyError("a mistake of ours")
        case "leave":
            os._exit(3)
    time.sleep(0.05 if item == 0 else 0)
    return item


def killed_once(number: signal.Signals, marker: Path) -> str:
    """As when a batch system ends, or stops for a while, a child that works on something harmless."""
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), number)
    return "done"


def outcomes(items: list[int | str], processes: int, timeout_sec: float = 60.0) -> list[object]:
    with children_at_work(work, items, processes=processes, timeout_sec=timeout_sec) as results:
        return [outcome for _, outcome in results]


@pytest.mark.parametrize("processes", [1, 3])
def test_children__give_results_in_order(processes: int) -> None:
    items: list[int | str] = list(range(40))
    assert outcomes(items, processes) == items


@pytest.mark.parametrize("processes", [1, 2])
def test_children__hangs_and_crashes_cost_one_item_each(processes: int) -> None:
    items = [0, "hang", 1, "abort", 2, "killed", 3, "hang"]
    hung, aborted, killed = Ended("SIGALRM", True), Ended("SIGABRT", False), Ended("SIGKILL", False)
    assert outcomes(items, processes, 0.3) == [0, hung, 1, aborted, 2, killed, 3, hung]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGALRM])
def test_children__a_signal_that_may_come_from_outside_is_tried_again(
    tmp_path: Path, number: signal.Signals
) -> None:
    marker = tmp_path / "was here"
    with children_at_work(partial(killed_once, number), [marker], processes=1, timeout_sec=60) as results:
        assert [outcome for _, outcome in results] == ["done"]
    assert marker.exists()


def test_children__mistakes_are_raised_not_counted() -> None:
    with pytest.raises(KeyError, match="a mistake of ours"):
        outcomes([1, "raise", 2], 2)
    with pytest.raises(VideoMAETrainError, match="exit code 3"):
        outcomes([1, "leave", 2], 2)


def test_children__none_is_left_behind() -> None:
    with children_at_work(pid_of_child, range(2), processes=2, timeout_sec=60) as results:
        pids = {pid for _, pid in results}
    for pid in pids:
        assert not Path(f"/proc/{pid}").exists()


def pid_of_child(_: int) -> int:
    return os.getpid()


def test_children__take_items_only_as_they_are_needed() -> None:
    taken: list[int] = []
    items = (taken.append(number) or number for number in range(1000))
    with children_at_work(work, items, processes=2, timeout_sec=60) as results:
        next(results)
    assert len(taken) < 20
