"""`videomae pretrain -m` and `sweep=...`: what is run, how often, and what is left of failures.

A stage's process is a stand-in that leaves the files by which a stage is finished; for real ones see
tests/end_to_end/test_sweeps.py.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import videomae
from sweep_stand_ins import CHAIN, FINETUNE, StandIns, summary


def test_sweep__is_a_folder_for_each_point_with_all_its_stages(
    words: list[str], stand_ins: StandIns, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    assert videomae("pretrain", "-m", *words, *CHAIN, "masking.ratio=0.75,0.9", f"run={sweep}") == 0
    names = ["masking.ratio-0.75", "masking.ratio-0.9"]
    assert sorted(each.name for each in sweep.iterdir() if each.is_dir()) == names
    assert stand_ins.ran == [
        f"{verb} {name}" for name in names for verb in ("pretrain", "finetune", "evaluate")
    ]
    assert {name: (point["state"], point["score"]) for name, point in summary(sweep).items()} == {
        name: ("finished", {"top1": 0.5}) for name in names
    }


@pytest.mark.parametrize("at_once", [1, 2])
def test_shared_stage__runs_once_and_before_the_points(
    words: list[str], stand_ins: StandIns, tmp_path: Path, at_once: int
) -> None:
    sweep = tmp_path / "sweep"
    rates = "finetune.optim.base_lr=1e-3,2e-3,4e-3"
    assert videomae("pretrain", *words, *CHAIN, "-m", rates, f"sweep.at_once={at_once}", f"run={sweep}") == 0
    assert stand_ins.ran[0] == "pretrain _shared"
    assert sorted(word.split()[0] for word in stand_ins.ran) == ["evaluate"] * 3 + ["finetune"] * 3 + [
        "pretrain"
    ]
    for point in summary(sweep):
        reference = json.loads((sweep / point / "pretrain" / "stage.json").read_text())["run"]
        assert (sweep / point / "pretrain" / reference / "run.json").is_file()


def test_every_stage__is_said_to_begin_and_to_end_once(
    words: list[str], stand_ins: StandIns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ["-m", "finetune.optim.base_lr=1e-3,2e-3"]
    assert videomae("pretrain", *words, *FINETUNE, *grid, f"run={tmp_path / 'sweep'}") == 0
    said = re.findall(r"/3  (\w+) of .* (begins|finished)$", capsys.readouterr().out, re.MULTILINE)
    verbs = ("pretrain", "finetune", "finetune")
    assert said == [(verb, what) for verb in verbs for what in ("begins", "finished")]


@pytest.mark.parametrize("at_once", [1, 3])
def test_point__begins_when_what_it_needs_is_there(
    words: list[str], stand_ins: StandIns, tmp_path: Path, at_once: int
) -> None:
    """And not when all is that any point needs: scores come early, and a pretraining that fails costs its points."""
    sweep, points = tmp_path / "sweep", "seed-{}+finetune.optim.base_lr-0.00{}"
    stand_ins.failing = "seed=0"
    grid = ["-m", "seed=0,1,2", "finetune.optim.base_lr=1e-3,2e-3", f"sweep.at_once={at_once}"]
    assert videomae("pretrain", *words, *FINETUNE, *grid, f"run={sweep}") == 1
    tuned = [f"finetune {points.format(seed, rate)}" for seed in (1, 2) for rate in (1, 2)]
    if at_once == 1:
        shared = "pretrain _shared"
        assert stand_ins.ran == [shared, shared, *tuned[:2], shared, *tuned[2:]]
    assert sorted(stand_ins.ran) == [*tuned, *["pretrain _shared"] * 3]
    ends = {name: (point["stage"], point["state"]) for name, point in summary(sweep).items()}
    assert ends == {
        points.format(seed, rate): ("finetune", "finished") if seed else ("pretrain", "failed")
        for seed in (0, 1, 2)
        for rate in (1, 2)
    }


def test_evaluations_settings__share_the_training(
    words: list[str], stand_ins: StandIns, tmp_path: Path
) -> None:
    clips = [word for word in CHAIN if "num_clips" not in word]
    assert (
        videomae("pretrain", "-m", *words, *clips, "evaluate.data.num_clips=1,2", f"run={tmp_path / 's'}")
        == 0
    )
    assert [word.split()[0] for word in stand_ins.ran] == ["pretrain", "finetune", "evaluate", "evaluate"]


def test_machine_settings__make_no_other_run(
    words: list[str], stand_ins: StandIns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["trainer.log_every_steps=1,2", "sweep.at_once=2"]
    assert videomae("pretrain", "-m", *words, *settings, f"run={tmp_path / 's'}") == 0
    assert len(stand_ins.ran) == 1, "also where two are started at once"
    assert len(re.findall(r"pretrain of .* \(and 1 more\) begins", capsys.readouterr().out)) == 1
    assert videomae("pretrain", "-m", *words, "seed=0,1", f"run={tmp_path / 'other'}") == 0
    assert len(stand_ins.ran) == 3, "a seed does"


def test_failed_point__is_reported_and_ends_no_other(
    words: list[str], stand_ins: StandIns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "sweep"
    command = ["pretrain", "-m", *words, *CHAIN, "seed=0,1,2", f"run={sweep}"]
    stand_ins.failing = "seed-1/finetune"
    assert videomae(*command) == 1
    said = capsys.readouterr()
    assert "1 of 3 points that are not finished: seed-1" in said.err
    assert re.search(r"1/9 +finetune of seed-0 begins\n", said.out)
    assert re.search(r"4/9 +finetune of seed-1 failed: planted, expected nothing\.\n", said.out)
    points = summary(sweep)
    assert [points[f"seed-{seed}"]["state"] for seed in (0, 1, 2)] == ["finished", "failed", "finished"]
    assert (points["seed-1"]["stage"], points["seed-1"]["reason"]) == (
        "finetune",
        "planted, expected nothing.",
    )
    stand_ins.failing = ""
    before = len(stand_ins.ran)
    assert videomae(*command) == 0
    assert stand_ins.ran[before:] == ["finetune seed-1", "evaluate seed-1"], "only what is missing"
    assert videomae(*command) == 0
    assert len(stand_ins.ran) == before + 2, "a finished sweep runs nothing"


@pytest.mark.parametrize("left", ["", '{"top1": 0.'])
def test_half_a_score__is_made_again(
    left: str, words: list[str], stand_ins: StandIns, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    command = ["pretrain", "-m", *words, *CHAIN, "seed=0,1", f"run={sweep}"]
    assert videomae(*command) == 0
    before = len(stand_ins.ran)
    (sweep / "seed-1" / "evaluate" / "metrics.json").write_text(left)
    assert videomae(*command) == 0
    assert stand_ins.ran[before:] == ["evaluate seed-1"]
    assert summary(sweep)["seed-1"]["score"] == {"top1": 0.5}


def test_failed_shared_stage__fails_its_points_and_no_others(
    words: list[str], stand_ins: StandIns, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    stand_ins.failing = "_shared/pretrain"
    rates = "finetune.optim.base_lr=1e-3,2e-3"
    assert videomae("pretrain", "-m", *words, *CHAIN, rates, f"run={sweep}") == 1
    assert stand_ins.ran == ["pretrain _shared"]
    assert {(point["state"], point["stage"]) for point in summary(sweep).values()} == {("failed", "pretrain")}


def test_problems__come_all_at_once_before_anything_starts(
    words: list[str], stand_ins: StandIns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "sweep"
    wrong = ["masking.ratio=0.5,1.5", "finetune.data.selection=nowhere"]
    assert videomae("pretrain", "-m", *words, *CHAIN, *wrong, f"run={sweep}") == 2
    message = capsys.readouterr().err
    assert "stages that cannot run, of 2 points:\n" in message
    assert "masking.ratio-1.5: pretrain: masking.ratio: 1.5" in message
    assert "masking.ratio-0.5: finetune: " in message
    assert "nowhere" in message
    assert stand_ins.ran == []
    assert not sweep.exists()


@pytest.mark.parametrize("sweep", ["study", "finetune_lr"])
def test_no_data__is_one_problem_of_all_points(
    sweep: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert videomae("pretrain", "-m", f"sweep={sweep}", f"run={tmp_path / 's'}") == 2
    said = capsys.readouterr().err
    assert said.count("\n  - ") == 1
    assert re.search(
        r"\(and \d+ more\): videomae pretrain: no value for data\.path.* Add data\.path=", said
    ), said


def test_own_recipes__serve_every_stage(words: list[str], stand_ins: StandIns, tmp_path: Path) -> None:
    own = tmp_path / "my configs" / "experiment"
    own.mkdir(parents=True)
    for verb in ("pretrain", "finetune"):
        (own / f"{verb}_mine.yaml").write_text("# @package _global_\noptim:\n  eps: 1e-7\n")
    sweep = tmp_path / "sweep"
    chosen = ["experiment=pretrain_mine", "finetune.experiment=finetune_mine"]
    assert (
        videomae("pretrain", "-m", *words, *CHAIN, *chosen, "--config-dir", own.parent, f"run={sweep}") == 0
    )
    assert stand_ins.ran == ["pretrain point", "finetune point", "evaluate point"]
    (run,) = json.loads((sweep / "sweep.json").read_text())["points"].values()
    assert run["state"] == "finished"


def test_points_of_the_same_runs__are_told(
    words: list[str], stand_ins: StandIns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = ["seed=0,0.0,1"]
    given = [word for word in words if not word.startswith("seed=")]
    assert videomae("pretrain", "-m", *given, *seeds, f"run={tmp_path / 'sweep'}") == 0
    assert "The same runs, made once: seed-0, seed-0.0.\n" in capsys.readouterr().out
    assert len(stand_ins.ran) == 2


def test_refused_sweep__leaves_no_folder(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    folder = tmp_path / "there" / "new" / "sweep"
    assert videomae("pretrain", "-m", *words, "masking.ratio=2", f"run={folder}") == 2
    assert list((tmp_path / "there").iterdir()) == []


def test_a_file_for_a_folder__is_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file := tmp_path / "file").touch()
    for many in (["-m"], []):
        for run in (file, file / "below"):
            assert videomae("pretrain", *many, *words, f"run={run}") == 2
            assert re.search(
                rf"Error: run: {run}, wh\w+ .*is a file; expected a folder", capsys.readouterr().err
            )


def test_a_mistyped_key__is_one_problem_in_few_words(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        videomae("pretrain", "-m", *words, *CHAIN, "seed=0,1", "optim.stps=2", "finetune.optim.stps=2") == 2
    )
    said = capsys.readouterr().err
    assert said.count("optim.stps") == 1, said
    assert "(and 1 more)" in said
    assert len(said) < 600, said


def test_another_recipe__is_refused_in_the_same_folder(
    words: list[str], stand_ins: StandIns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["pretrain", "-m", *words, "seed=0,1", f"run={tmp_path / 'sweep'}"]
    assert videomae(*command) == 0
    assert videomae(*command, "masking.ratio=0.5") == 2
    assert "begun with another recipe" in capsys.readouterr().err
    assert len(stand_ins.ran) == 2
    assert videomae("pretrain", "-m", *words, "seed=0,1,2", f"run={tmp_path / 'sweep'}") == 0
    assert len(stand_ins.ran) == 3, "further points are welcome"


def test_a_stage_twice__is_refused(
    words: list[str], stand_ins: StandIns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twice = [*words, *CHAIN, "sweep.then=[finetune,finetune,evaluate]", "seed=0,1", f"run={tmp_path / 's'}"]
    assert videomae("pretrain", "-m", *twice) == 2
    assert "finetune twice" in capsys.readouterr().err


def test_a_stage_that_the_sweep_has_not__is_refused(
    words: list[str], stand_ins: StandIns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert videomae("pretrain", "-m", *words, "seed=0,1", "finetune.seed=3", f"run={tmp_path / 's'}") == 2
    assert "sweep.then" in capsys.readouterr().err


def test_two_sweeps_at_once_in_one_folder__are_refused(
    words: list[str], stand_ins: StandIns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By another process: this one could take its own lock again."""
    sweep = tmp_path / "sweep"
    holder = f"""
import pathlib, sys
from videomae_train.training.folder_lock import FolderLock
with FolderLock(pathlib.Path({str(sweep)!r})):
    print("taken", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", holder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        assert videomae("pretrain", "-m", *words, "seed=0,1", f"run={sweep}") == 2
        assert "in use by process" in capsys.readouterr().err
        process.communicate("")
    assert stand_ins.ran == []
    assert videomae("pretrain", "-m", *words, "seed=0,1", f"run={sweep}") == 0
    assert not (sweep / "in_use.json").exists()
