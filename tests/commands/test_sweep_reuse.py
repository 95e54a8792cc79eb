"""Runs that a sweep takes from other sweeps, and runs of its own that are gone."""

import json
import shutil
from pathlib import Path

import pytest
from command_line import videomae
from sweep_stand_ins import CHAIN, StandIns, summary


@pytest.mark.slow
def test_reuse__takes_what_another_sweep_has_finished_by_the_same_recipe(
    words: list[str], stand_ins: StandIns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "far" / "second"
    stand_ins.failing = "seed-1/finetune"
    assert videomae("pretrain", "-m", *words, *CHAIN, "seed=0,1", f"run={first}") == 1
    before, stand_ins.failing = len(stand_ins.ran), ""
    command = ["pretrain", "-m", *words, *CHAIN, "seed=0,1,2", f"run={second}", f"sweep.reuse=[{first}]"]
    assert videomae(*command) == 0
    missing = [f"{verb} seed-2" for verb in ("pretrain", "finetune", "evaluate")]
    assert stand_ins.ran[before:] == ["finetune seed-1", "evaluate seed-1", *missing]
    assert {point["state"] for point in summary(second).values()} == {"finished"}
    reference = json.loads((second / "seed-0" / "evaluate" / "stage.json").read_text())["run"]
    assert (second / "seed-0" / "evaluate" / reference).resolve() == first / "seed-0" / "evaluate"
    shutil.rmtree(first)
    assert videomae(*command[:-1]) == 0
    assert len(stand_ins.ran) == before + 5 + 4, "what is gone is run again, here"
    assert not first.exists()
    assert not (second / "seed-0" / "evaluate" / "stage.json").exists(), "where reports would look for it"
    assert videomae(*command) == 2
    assert "sweep.reuse" in capsys.readouterr().err


def test_reuse__serves_a_sweep_that_was_recorded_but_not_begun(
    words: list[str], stand_ins: StandIns, tmp_path: Path
) -> None:
    late, other = tmp_path / "late", tmp_path / "other"
    stand_ins.failing = "late/"
    assert videomae("pretrain", "-m", *words, "seed=0", f"run={late}") == 1
    stand_ins.failing = ""
    assert videomae("pretrain", "-m", *words, "seed=0", f"run={other}") == 0
    before = len(stand_ins.ran)
    assert videomae("pretrain", "-m", *words, "seed=0", f"run={late}", f"sweep.reuse=[{other}]") == 0
    assert len(stand_ins.ran) == before


def test_reuse__finds_its_way_through_links(words: list[str], stand_ins: StandIns, tmp_path: Path) -> None:
    (tmp_path / "disk" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "deep")
    first, second = tmp_path / "first", tmp_path / "link" / "second"
    assert videomae("pretrain", "-m", *words, "seed=0", f"run={first}") == 0
    for reuse in ([f"sweep.reuse=[{first}]"], []):
        assert videomae("pretrain", "-m", *words, "seed=0", f"run={second}", *reuse) == 0
        assert len(stand_ins.ran) == 1
    (reference,) = second.glob("*/pretrain/stage.json")
    assert (reference.parent / json.loads(reference.read_text())["run"] / "run.json").is_file()


def test_reuse__writes_no_reference_into_a_run_of_another_recipe(
    words: list[str], stand_ins: StandIns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    changed = "masking.ratio=0.5"
    assert videomae("pretrain", "-m", *words, "seed=0,1", changed, f"run={first}") == 0
    assert videomae("pretrain", "-m", *words, "seed=0,1", f"run={second}") == 0
    reuse = f"sweep.reuse=[{first}]"
    assert videomae("pretrain", "-m", *words, "seed=0,1", changed, f"run={second}", reuse) == 2
    assert "runs of another recipe" in capsys.readouterr().err
    assert not list(second.rglob("stage.json"))


def test_removed_runs__are_forgotten(words: list[str], stand_ins: StandIns, tmp_path: Path) -> None:
    """One recipe, another in its place, and back: a run is never taken for that of the other."""
    sweep = tmp_path / "sweep"
    recipes = ["masking.ratio=0.5", "masking.ratio=0.75", "masking.ratio=0.5"]
    for recipe in recipes:
        shutil.rmtree(sweep / "seed-0", ignore_errors=True)
        shutil.rmtree(sweep / "seed-1", ignore_errors=True)
        assert videomae("pretrain", "-m", *words, "seed=0,1", recipe, f"run={sweep}") == 0
    assert len(stand_ins.ran) == 6
    assert videomae("pretrain", "-m", *words, "seed=0,1", recipes[1], f"run={sweep}") == 2, (
        "the place is taken"
    )
    assert videomae("pretrain", "-m", *words, "seed=0,1", recipes[2], f"run={sweep}") == 0
    assert len(stand_ins.ran) == 6
