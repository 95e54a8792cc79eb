"""Decoders that crash within a run: it ends, names the video, and passes it by when it is resumed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import QUICK, SMALL, videomae
from crashing_decoder import crash_at

from videomae_train.config import verbs
from videomae_train.data.index import PackedDataset
from videomae_train.data.views import Video
from videomae_train.training.records import read_metric

WORKERS = [value for value in QUICK if not value.startswith("loader")] + ["loader.num_workers=1"]


def fifth_key(packed: Path) -> str:
    dataset = PackedDataset.open(packed)
    return dataset.key(5)


@pytest.mark.slow
def test_a_crash__ends_the_run_and_resuming_passes_the_video_by(
    packed_motions: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Video, "decode", Video.decode)  # put back afterwards
    crash_at(fifth_key(packed_motions))
    asked: list[str] = []
    monkeypatch.setattr(verbs, "requeue_job", lambda: asked.append("asked") or "12")
    run = tmp_path / "run"
    given = [
        "model=tiny",
        *SMALL,
        *WORKERS,
        f"data.path={packed_motions}",
        f"run={run}",
        "max_fault_ratio=0.5",
    ]
    assert videomae("pretrain", *given) == 1
    message = capsys.readouterr().err
    assert f"{fifth_key(packed_motions)}: crashed (it ended a loader worker by SIGSEGV" in message
    assert "resume=auto" in message
    assert asked == [], "without resume=auto the next start would refuse the folder"
    assert videomae("pretrain", *given, "resume=auto") == 0
    assert len(read_metric(run, "train/loss")[1]) == 6
    faults = json.loads((run / "faults.json").read_text())
    assert {(fault["key"], fault["cause"]) for fault in faults} == {(fifth_key(packed_motions), "crashed")}
    assert [fault["sample_id"] for fault in faults] == [5] * len(faults)
    assert videomae("pretrain", *given[:-2], f"run={tmp_path / 'job'}", given[-1], "resume=auto") == 1
    assert asked == ["asked"], "in Slurm a job goes on by itself"
    assert "Slurm starts job 12 again" in capsys.readouterr().err


@pytest.mark.slow
def test_a_crash_on_one_rank__ends_all_ranks_and_all_pass_the_video_by(
    packed_motions: Path, tmp_path: Path
) -> None:
    run, script = tmp_path / "run", Path(__file__).with_name("crashing_decoder.py")
    given = [
        "pretrain", "model=tiny", *SMALL, *WORKERS, f"data.path={packed_motions}", f"run={run}",
        "trainer.micro_batch=1", "trainer.devices=2", "trainer.threads=1", "trainer.checkpoint_every_steps=1",
        "trainer.keep_checkpoints=20",
        "max_fault_ratio=0.5", "optim.steps=12",
    ]  # fmt: skip
    environment = {
        "OMP_NUM_THREADS": "1",
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "CRASHING_KEY": fifth_key(packed_motions),
        "CRASH_ONLY_ONCE_TRAINING": str(run / "checkpoints" / "step-00000001.ckpt"),
    }

    def attempt(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(script), *given, *more]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, timeout=300
        )

    began = time.monotonic()
    first = attempt()
    assert first.returncode != 0, "no rank waits for ever"
    assert f"{fifth_key(packed_motions)}: crashed" in first.stderr, first.stderr[-3000:]
    print(f"ended after {time.monotonic() - began:.0f} s")
    second = attempt("resume=auto")
    assert second.returncode == 0, second.stderr[-3000:]
    assert read_metric(run, "train/loss")[0][-1] == 12
    faults = json.loads((run / "faults.json").read_text())
    assert {(fault["key"], fault["cause"]) for fault in faults} == {(fifth_key(packed_motions), "crashed")}
