"""Real runs with something planted in them: the alarm is said once, counted and kept."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from stepping import CONFIG, Batches, fit, make_module

from videomae_train.training.alarm_list import AlarmList
from videomae_train.training.alarms import AlarmOptions, Expected
from videomae_train.training.checkpoint_files import newest_checkpoint
from videomae_train.training.meter import Meter, Seconds
from videomae_train.types import PretrainBatch

NUM_TOKENS = CONFIG.grid.num_tokens


def alarm_list(run: Path, num_visible: int = NUM_TOKENS // 2) -> AlarmList:
    expected = Expected(AlarmOptions(reports=2, data_bound_share=0.5), "fp32", 4, 0.0)
    return AlarmList(run / "alarms.json", expected, grid=CONFIG.grid, num_visible=num_visible)


def waiting(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """Let each report find that a share of its time went into waiting, whatever the clock says."""
    restart = Meter.restart

    def planted(meter: Meter) -> Seconds:
        restart(meter)
        return Seconds(1.0, share)

    monkeypatch.setattr(Meter, "restart", planted)


def names(run: Path) -> list[str]:
    return [alarm["name"] for alarm in json.loads((run / "alarms.json").read_text())]


def test_clean_run__says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting(monkeypatch, 0.1)
    module = make_module(4)
    fit(module, Batches(0, 4), tmp_path, until=4, also=[alarm_list(tmp_path)])
    assert module.latest["train/num_alarms"] == 0
    assert not (tmp_path / "alarms.json").exists()
    assert "ALARM" not in capsys.readouterr().err


def test_slow_loader__is_said_once_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting(monkeypatch, 0.9)
    module = make_module(4)
    fit(module, Batches(0, 4), tmp_path, until=4, also=[alarm_list(tmp_path)])
    assert module.latest["train/num_alarms"] == 1
    assert names(tmp_path) == ["data_bound"]
    assert capsys.readouterr().err.count("ALARM data_bound, step 3: 90% of the time") == 1


def test_inverted_mask__is_said_at_the_first_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting(monkeypatch, 0.1)

    class Inverted(Batches):
        def __iter__(self) -> Iterator[PretrainBatch]:
            for batch in super().__iter__():
                seen = torch.arange(NUM_TOKENS - 2)  # where the recipe promises two
                yield batch._replace(visible_idx=seen.expand(len(batch.clips), -1))

    fit(make_module(4), Inverted(0, 4), tmp_path, until=2, also=[alarm_list(tmp_path, 2)])
    assert names(tmp_path) == ["inverted_mask"]
    assert capsys.readouterr().err.count("ALARM inverted_mask, step 0") == 1


def test_planted_nan__is_said_with_the_step_that_was_held_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting(monkeypatch, 0.1)
    module = make_module(4, poisoned=[5])
    fit(module, Batches(0, 4), tmp_path, until=4, also=[alarm_list(tmp_path)])
    assert names(tmp_path) == ["not_finite"]
    assert "ALARM not_finite, step 2: 1 of 2 steps" in capsys.readouterr().err


def test_resumed_run__takes_back_what_came_after_its_checkpoint_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting(monkeypatch, 0.1)
    fit(make_module(4, poisoned=[5]), Batches(0, 4), tmp_path, until=2, also=[alarm_list(tmp_path)])
    later = {"name": "faults", "step": 3, "words": "", "todo": ""}
    kept = json.loads((tmp_path / "alarms.json").read_text())
    (tmp_path / "alarms.json").write_text(json.dumps([*kept, later]))
    capsys.readouterr()
    resumed = make_module(4)
    ckpt = newest_checkpoint(tmp_path)
    fit(resumed, Batches(8, 4), tmp_path, until=4, ckpt=ckpt, also=[alarm_list(tmp_path)])
    assert names(tmp_path) == ["not_finite"]
    assert resumed.latest["train/num_alarms"] == 1
    assert "ALARM" not in capsys.readouterr().err
