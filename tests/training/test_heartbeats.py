import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from videomae_train.training.heartbeats import (
    Heartbeat,
    host_name,
    read_heartbeat,
    remove_heartbeat,
    write_heartbeat,
)

HERE = Heartbeat(3, "n2", host_name(), os.getpid(), 7, 40, 20, "computing", None)


def test_heartbeat__is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_heartbeat(tmp_path, 3) is None
    write_heartbeat(tmp_path, HERE)
    assert read_heartbeat(tmp_path, 3) == HERE
    assert [file.name for file in tmp_path.iterdir()] == ["rank-0003.json"]
    remove_heartbeat(tmp_path, 3)
    assert read_heartbeat(tmp_path, 3) is None


def test_is_running__sees_a_killed_child_that_nobody_has_looked_after() -> None:
    assert HERE.is_running
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        beat = replace(HERE, process=child.pid)
        assert beat.is_running
        os.kill(child.pid, 9)
        deadline = time.monotonic() + 10
        while beat.is_running and time.monotonic() < deadline:  # not waited for: it stays a zombie
            time.sleep(0.01)
        assert not beat.is_running
    assert not beat.is_running
