from pathlib import Path

import pytest

from videomae_train.training.options import WandbOptions
from videomae_train.training.trainer import build_loggers


def test_wandb__knows_all_attempts_as_one_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = build_loggers(WandbOptions("offline", "p", None), run)[1]
    second = build_loggers(WandbOptions("offline", "p", None), run)[1]
    assert first.version == second.version == (run / "wandb_run_id.txt").read_text().strip()
    other = build_loggers(WandbOptions("offline", "p", None), tmp_path / "other")[1]
    assert other.version != first.version


def test_wandb__agent_of_a_sweep_names_its_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "trial7")
    assert build_loggers(WandbOptions("offline", "p", None), tmp_path / "alone")[1].version != "trial7"
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    assert build_loggers(WandbOptions("offline", "p", None), tmp_path / "trial")[1].version == "trial7"


def test_wandb__is_told_whose_run_it_is_and_where_it_belongs(tmp_path: Path) -> None:
    given = WandbOptions("offline", "p", None, entity="team", group="ratios", tags=("tube", "0.9"))
    told = build_loggers(given, tmp_path / "run")[1]._wandb_init  # type: ignore[attr-defined]
    assert (told["entity"], told["group"], told["tags"]) == ("team", "ratios", ["tube", "0.9"])
    plain = build_loggers(WandbOptions("offline", "p", None), tmp_path / "plain")[1]._wandb_init  # type: ignore[attr-defined]
    assert {plain["entity"], plain["group"], plain["tags"]} == {None}
