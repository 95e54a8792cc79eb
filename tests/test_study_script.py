"""scripts/study.py: what its command line makes of itself, and (slow) one real study, as small as it gets."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

import pytest

from videomae_train.benchmarks.study import BUDGETS
from videomae_train.config.sweep import read_sweep
from videomae_train.errors import ConfigError

SCRIPT = Path(__file__).parent.parent / "scripts" / "study.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("study_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "packed"
    folder.mkdir()
    (folder / "dataset.json").write_text("{}")
    return folder


@pytest.fixture
def generated(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    made: list[Path] = []
    monkeypatch.setattr(script, "make_motion_set", lambda folder, *rest: made.append(folder))
    return made


@pytest.mark.parametrize(
    ("only", "names"),
    [([], ["clips", "motions"]), (["--only", "clips"], ["clips"]), (["--only", "motions"], ["motions"])],
)
def test_one_set_or_both(
    script: ModuleType, data: Path, generated: list[Path], only: list[str], names: list[str], tmp_path: Path
) -> None:
    asked = script.parse(["--data", str(data), "--out", str(tmp_path / "out"), *only])
    found = script.sets(asked)
    assert list(found) == names
    assert bool(generated) == ("motions" in names), "nothing is made for another day"
    assert found.get("clips", (data, "split1")) == (data, "split1"), "the official split"


def test_without_clips__only_motions(script: ModuleType, generated: list[Path], tmp_path: Path) -> None:
    asked = ([], ["--budget", "small"], ["--budget", "fair"])
    found = [script.sets(script.parse([*words, "--out", str(tmp_path)])) for words in asked]
    assert [list(each) for each in found] == [["motions"]] * 3
    assert found[0] != found[1] == found[2], "as many videos at both"
    with pytest.raises(SystemExit):
        script.parse(["--only", "clips"])


def test_videos__are_packed_once_and_others_are_refused(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    videos, lists, packed = tmp_path / "videos", tmp_path / "lists", tmp_path / "packed"
    runs: list[tuple[object, ...]] = []

    def pack(*words: object) -> int:
        runs.append(words)
        packed.mkdir()
        (packed / "dataset.json").write_text("{}")
        return 0

    monkeypatch.setattr(script, "videomae", pack)
    videos.mkdir()
    with pytest.raises(SystemExit):
        script.parse(["--data", str(videos)])
    assert "wants --splits" in capsys.readouterr().err, "before anything is packed"
    for _ in range(2):
        assert script.packed_clips(videos, lists, packed) == packed
    assert runs == [("pack", videos, packed, "--splits", lists)]
    with pytest.raises(ConfigError, match="other videos"):
        script.packed_clips(tmp_path / "others", lists, packed)


@pytest.mark.parametrize("folder", ["plain", "with space", "a,b (c)"])
def test_any_folder__is_one_value_in_the_sweep(script: ModuleType, folder: str, tmp_path: Path) -> None:
    words = script.sweep_words("clips", tmp_path / folder / "set", "split1", tmp_path / folder / "s", "smoke")
    sweep = read_sweep(words)
    assert (len(sweep.points), sweep.folder) == (7, tmp_path / folder / "s")
    assert sweep.compose(sweep.points[0]).data.path == str(tmp_path / folder / "set")


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("name", ["motions", "clips"])
def test_sweep__spends_the_budget_at_every_point(
    script: ModuleType, budget: str, name: str, tmp_path: Path
) -> None:
    words = script.sweep_words(name, tmp_path / "set", "split1", tmp_path / "sweep", budget)
    sweep, spent = read_sweep(words), BUDGETS[budget]
    seeds, labels = len(spent.seeds.split(",")), len(spent.per_class.split(","))
    assert len(sweep.points) == 7 * seeds * labels
    for point in sweep.points:
        steps = [word for word in sweep.pretrain_words(point) if word.startswith("optim.steps=")]
        assert steps == [f"optim.steps={spent.pretrain_steps}"]
    chosen = {each.label: each.value for each in sweep.shared}
    assert chosen["finetune.optim.steps"] == str(spent.finetune_steps), "from scratch no less than pretrained"
    assert chosen["evaluate.data.selection"] == "split1/test"
    assert chosen.get("finetune.data.flip") == ("false" if name == "motions" else None)


def test_one_mask__is_some_of_the_points_of_all(script: ModuleType, tmp_path: Path) -> None:
    """So that the others can be added in the same folder."""
    every, one = (
        read_sweep(script.sweep_words("clips", tmp_path, "split1", tmp_path / "sweep", "fair", masks))
        for masks in ("all", "one")
    )
    assert len(one.points) == len(every.points) * 2 // 7
    assert set(one.points) < set(every.points)
    assert (one.shared, one.options.finetune) == (every.shared, every.options.finetune)


def test_other_budgets__of_the_same_set_are_reused(script: ModuleType, tmp_path: Path) -> None:
    for budget, name in (("small", "clips"), ("fair", "clips"), ("long", "motions")):
        (tmp_path / budget / name).mkdir(parents=True)
        (tmp_path / budget / name / "sweep.json").write_text("{}")
    words = script.sweep_words("clips", tmp_path, "split1", tmp_path / "fair" / "clips", "fair")
    assert read_sweep(words).options.reuse == (str(tmp_path / "small" / "clips"),)


def test_machine__is_handed_on_to_every_stage(script: ModuleType, tmp_path: Path) -> None:
    words = script.sweep_words("clips", tmp_path, "split1", tmp_path / "sweep", "fair")
    of_machine = ["trainer.accelerator=gpu", "trainer.precision=bf16", "loader.num_workers=6"]
    of_machine += ["trainer.threads=1"]
    sweep = read_sweep([*words, *of_machine, "trainer.compile=true"])
    for point in (sweep.points[0], sweep.points[-1]):
        stages = sweep.compose(point).sweep
        finetune = sweep.later_words("finetune", point, stages)
        evaluate = sweep.later_words("evaluate", point, stages)
        assert {*of_machine, "trainer.devices=1", "trainer.compile=True"} <= set(finetune)
        assert {"accelerator=gpu", "threads=1", "loader.num_workers=6"} <= set(evaluate)
        assert f"data.per_class_seed={stages.finetune[4].partition('=')[2]}" in finetune


def test_workers__are_half_of_the_processors(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, workers in ((1, 1), (2, 1), (16, 8), (192, 8)):
        monkeypatch.setattr(
            os, "sched_getaffinity", lambda process, cores=cores: set(range(cores)), raising=False
        )
        assert script.workers() == workers


def test_stopped__it_stops_the_sweep_and_waits_for_it(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the sweep is a process that saves when it is told to stop."""
    saver = f"""
import pathlib, signal, sys, time
folder = pathlib.Path({str(tmp_path)!r})
def save(*_):
    time.sleep(0.5)
    (folder / "saved").touch()
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
(folder / "ready").touch()
time.sleep(60)
"""
    start = subprocess.Popen

    def started(words: list[str]) -> subprocess.Popen[bytes]:
        process = start([sys.executable, "-S", "-c", saver])
        threading.Thread(target=interrupt_when_ready).start()
        return process

    def interrupt_when_ready() -> None:
        while not (tmp_path / "ready").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", started)
    before = signal.getsignal(signal.SIGINT)
    assert script.videomae("pretrain") == 75
    assert (tmp_path / "saved").exists()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.slow
def test_study__on_generated_motions(tmp_path: Path) -> None:
    """Two of the seven points: pretrained and from scratch."""
    grids = "[{masking:tube,masking.ratio:0.9},{pretrain:null,finetune.model:tiny,finetune.optim.layer_decay:1.0}]"
    command = [sys.executable, str(SCRIPT), "--budget", "smoke", "--only", "motions", "--out", str(tmp_path)]
    small = [f"sweep.grids={grids}", "loader.num_workers=0", "trainer.threads=1", "trainer.accelerator=cpu"]
    small += ["logger=disabled"]
    subprocess.run([*command, *small], check=True)
    sweep = tmp_path / "smoke" / "motions"
    verdict = json.loads((sweep / "sweep.json").read_text())["verdict"]
    assert verdict["words"].endswith("budget smoke: inconclusive.")
    assert "less than a fair one" in verdict["reasons"][0]
    page = (tmp_path / "smoke" / "motions.html").read_text()
    assert "pretraining against from scratch is inconclusive</title>" in page
    assert verdict["words"] in page
    words = (sweep / "study.md").read_text()
    assert "| from scratch | all labels | 0." in words
    assert "All trainings together took –" not in words, "hours are in the runs' records"
    summary = subprocess.run([*command, "--summary"], check=True, capture_output=True, text=True).stdout
    assert "at no budget tried (smoke)" in summary
    assert (tmp_path / "summary.png").exists()
