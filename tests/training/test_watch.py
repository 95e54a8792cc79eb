import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from videomae_train.errors import ConfigError, TrainingError
from videomae_train.training.heartbeats import Heartbeat, host_name, read_heartbeat, write_heartbeat
from videomae_train.training.watch import RankWatch

MODULE = pl.LightningModule()
# What gloo says when a peer is gone, shortened.
LOST_PEER = RuntimeError(
    "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:549] Connection closed by peer"
)


def trainer_of(rank: int) -> Any:
    strategy = SimpleNamespace(barrier=lambda name: None)
    connector = SimpleNamespace(cluster_environment=None)
    return SimpleNamespace(
        global_rank=rank,
        world_size=2,
        is_global_zero=rank == 0,
        strategy=strategy,
        _accelerator_connector=connector,
    )


def watch_beside(folder: Path, other: Heartbeat, *, rank: int = 0) -> RankWatch:
    write_heartbeat_in(folder, other)
    watch = RankWatch(folder, timeout_sec=5)
    watch.setup(trainer_of(rank), MODULE, "fit")
    return watch


def write_heartbeat_in(folder: Path, heartbeat: Heartbeat) -> None:
    folder.mkdir(exist_ok=True)
    write_heartbeat(folder, heartbeat)


def gone_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def test_on_exception__a_lost_peer_becomes_an_error_with_its_name(tmp_path: Path) -> None:
    # On another host, where nobody can look: only its silence tells.
    watch = watch_beside(tmp_path, Heartbeat(1, "n2", "elsewhere", 4711, 1, 8, 4, "computing", None))
    with pytest.raises(TrainingError, match=r"rank 1 \(n2, process 4711\).*last seen at step 4, computing"):
        watch.on_exception(trainer_of(0), MODULE, LOST_PEER)
    own = read_heartbeat(tmp_path, 0)
    assert own is not None
    assert own.failure is not None
    assert "rank 1 (n2, process 4711)" in own.failure, "the other ranks learn it from rank 0"


def test_on_exception__an_error_of_its_own_stays_what_it_is(tmp_path: Path) -> None:
    watch = watch_beside(tmp_path, Heartbeat(1, "n2", host_name(), os.getpid(), 1, 8, 4, "computing", None))
    watch.on_exception(trainer_of(0), MODULE, torch.OutOfMemoryError("80 GiB"))
    own = read_heartbeat(tmp_path, 0)
    assert own is not None
    assert own.failure == "OutOfMemoryError: 80 GiB"


def test_on_exception__rank_0s_finding_reaches_the_others(tmp_path: Path) -> None:
    found = "TrainingError: rank 5 (n3, process 9): it died"
    watch = watch_beside(
        tmp_path, Heartbeat(0, "n1", host_name(), gone_process(), 1, 8, 4, "computing", found), rank=1
    )
    with pytest.raises(TrainingError, match=r"rank 5 \(n3, process 9\)"):
        watch.on_exception(trainer_of(1), MODULE, LOST_PEER)


def test_teardown__takes_the_sign_of_life_away(tmp_path: Path) -> None:
    watch = watch_beside(tmp_path, Heartbeat(1, "n2", host_name(), os.getpid(), 1, 8, 4, "computing", None))
    assert read_heartbeat(tmp_path, 0) is not None
    watch.teardown(trainer_of(0), MODULE, "fit")
    assert read_heartbeat(tmp_path, 0) is None


def test_thread__beats_while_the_loop_is_busy(tmp_path: Path) -> None:
    watch = watch_beside(tmp_path, Heartbeat(1, "n2", host_name(), os.getpid(), 1, 8, 4, "computing", None))
    first = read_heartbeat(tmp_path, 0)
    deadline = time.monotonic() + 10
    while read_heartbeat(tmp_path, 0) == first and time.monotonic() < deadline:
        time.sleep(0.05)
    assert read_heartbeat(tmp_path, 0) != first
    watch.teardown(trainer_of(0), MODULE, "fit")


class Passes:
    """Stands in for the event that ends a watch: after the last of the given seconds, which pass by no real clock."""

    def __init__(self, seconds: list[float]) -> None:
        self._seconds, self.now = iter(seconds), 0.0

    def wait(self, _: float) -> bool:
        second = next(self._seconds, None)
        self.now += second or 0.0
        return second is None

    def is_set(self) -> bool:
        return False


@pytest.mark.parametrize(("seconds", "ends"), [([0.5, 1000.0, 0.5], 0), ([0.5] * 12, 1), ([1000.0] * 7, 1)])
def test_thread__counts_silence_only_while_it_watches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: list[float], ends: int
) -> None:
    passes, ended = Passes(seconds), list[object]()
    monkeypatch.setattr("videomae_train.training.watch.time", SimpleNamespace(monotonic=lambda: passes.now))
    monkeypatch.setattr(RankWatch, "_ending", property(lambda _: passes, lambda *_: None), raising=False)
    monkeypatch.setattr(RankWatch, "_end_process", lambda _, verdict: ended.append(verdict))
    write_heartbeat_in(tmp_path, Heartbeat(1, "n2", "elsewhere", 4711, 1, 8, 4, "computing", None))
    watch = RankWatch(tmp_path, timeout_sec=5)
    watch.setup(trainer_of(0), MODULE, "fit")
    watch._thread.join()  # pyright: ignore[reportPrivateUsage]
    assert len(ended) == ends


def test_timeout__that_a_busy_machine_would_exceed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.rank_timeout_sec: 1; expected at least 5 s"):
        RankWatch(tmp_path, timeout_sec=1)
