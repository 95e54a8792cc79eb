"""What a person sees while a run goes on."""

import json
import sys
from pathlib import Path

import pytest
from rich.console import Console
from stepping import Batches, fit, make_module

from videomae_train.training import progress
from videomae_train.training.checkpoint_files import newest_checkpoint
from videomae_train.training.progress import Baselines, FaultList, StepProgress
from videomae_train.types import Fault

BESIDE = Baselines({"baseline/predict_mean": 0.98765, "baseline/copy_nearest": 1.23456})


def shown(folder: Path, progress_: StepProgress, *, poisoned: list[int] | None = None) -> None:
    fit(make_module(4, poisoned=poisoned or []), Batches(0, 4), folder, until=4, also=[BESIDE, progress_])


def test_every_figure_of_a_report__is_said_beside_the_baselines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_PLAIN_LINES", -1.0)
    shown(tmp_path, StepProgress("pretrain"), poisoned=[9])
    first, *lines = capsys.readouterr().err.splitlines()
    assert (
        first
        == "Losses without a model: predicting the mean 0.9877, copying the nearest visible patch 1.2346."
    )
    assert [line.split()[1] for line in lines] == ["1/4", "2/4", "3/4", "4/4"]
    assert "(predicting the mean 0.988, copying the nearest visible patch 1.235)" in lines[0]
    for words in (
        "loss ",
        "lr ",
        "gradient ",
        "views/s",
        "waiting for data",
        "TFLOP/s",
        "of the peak",
        "GiB",
    ):
        assert words in lines[0]
    assert "skipped" not in lines[1]
    assert lines[2].endswith("1 skipped"), "video 9 is of the third step"


def test_narrow_terminal__shows_time_left_and_every_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown(tmp_path, StepProgress("pretrain", Console(file=sys.stderr, force_terminal=True, width=60)))
    said = capsys.readouterr().err
    last = said[said.rindex("4/4") :]
    assert "left" in last
    assert "GiB" in last
    assert "\u2026" not in last, "nothing is cut off"


def test_faults__that_only_the_last_save_gathers_are_written_and_named_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = Fault("broken", "shard-000000.tar", 99, -1, "truncated", "cut")
    listed = tmp_path / "faults.json"
    module = make_module(4, log_every_steps=100)
    fit(module, Batches(0, 4, (fault,)), tmp_path, until=1, also=[FaultList(listed)])
    written = json.loads(listed.read_text())
    assert [each["key"] for each in written] == [each.key for each in module.faults]
    said = capsys.readouterr().err
    assert said.count("unreadable, replaced: broken") == len(written) > 0
    listed.unlink()  # as when the run was killed before it wrote
    resumed, ckpt = make_module(4, log_every_steps=100), newest_checkpoint(tmp_path)
    fit(resumed, Batches(4, 4), tmp_path, until=2, ckpt=ckpt, also=[FaultList(listed)])
    assert json.loads(listed.read_text()) == written
    assert "unreadable" not in capsys.readouterr().err
