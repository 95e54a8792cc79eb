"""Which runs belong together."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from run_folders import (
    NOW,
    pretrain_config,
    write_evaluation,
    write_json,
    write_knn,
    write_point,
    write_record,
    write_training,
)

from videomae_train.errors import ConfigError
from videomae_train.reporting.facts import Point, Verdict
from videomae_train.reporting.finding import find_points
from videomae_train.training.heartbeats import host_name


def shape(points: Sequence[Point]) -> dict[str, tuple[bool, bool, bool]]:
    """Name -> whether there are a pretraining, a classifier, a score."""
    return {
        point.name: (
            point.pretraining is not None,
            point.classifier is not None,
            point.evaluation is not None,
        )
        for point in points
    }


def test_a_sweep__is_a_point_for_each_folder(tmp_path: Path) -> None:
    for ratio in (0.5, 0.9):
        write_point(tmp_path / f"masking.ratio-{ratio}", "tube", ratio, 0)
    found = find_points([tmp_path], NOW)
    assert shape(found.points) == dict.fromkeys(
        ("masking.ratio-0.5", "masking.ratio-0.9"), (True, True, True)
    )
    assert found.passed_by == ()


def test_stages_that_points_share__are_followed_and_read_once(tmp_path: Path) -> None:
    shared = write_training(tmp_path / "_shared" / "abc")
    for rate in ("0.1", "0.2"):
        point = tmp_path / f"lr-{rate}"
        write_json(point / "pretrain" / "stage.json", {"run": "../../_shared/abc"})
        write_training(point / "finetune", "finetune", {"weights": "/gone"})
    linked = tmp_path / "lr-0.3"
    linked.mkdir()
    (linked / "pretrain").symlink_to(shared)
    points = find_points([tmp_path], NOW).points
    assert list(shape(points)) == ["lr-0.1", "lr-0.2", "lr-0.3"]
    assert points[0].pretraining is points[1].pretraining is points[2].pretraining is not None


def test_stages_that_have_not_begun__make_a_point_incomplete(tmp_path: Path) -> None:
    """The sweep's record knows of them; their folders are not there, or hold only what Hydra left."""
    write_training(tmp_path / "seed-0" / "pretrain")
    write_point(tmp_path / "seed-1", "tube", 0.9, 1)
    (tmp_path / "seed-0" / "finetune" / ".hydra").mkdir(parents=True)
    states = {"pretrain": "finished", "finetune": "stopped: by a signal", "evaluate": "waiting"}
    write_record(tmp_path, {"seed-0": states, "seed-1": dict.fromkeys(states, "finished")})
    cut, whole = find_points([tmp_path], NOW).points
    assert cut.problems == ("finetune: stopped: by a signal", "evaluate: has not begun")
    assert [point.state[1] for point in (cut, whole)] == ["incomplete", "finished"]


@pytest.mark.parametrize("verb", ["pretrain", "evaluate"])
def test_a_stage_that_runs_and_has_left_no_run_yet__is_running(verb: str, tmp_path: Path) -> None:
    """A score leaves nothing before its end, a training nothing while it starts."""
    states = {"pretrain": "finished", "finetune": "finished", "evaluate": "running"}
    if verb == "pretrain":
        states = {"pretrain": "running", "finetune": "waiting", "evaluate": "waiting"}
    else:
        shutil.rmtree(write_point(tmp_path / "seed-0", "tube", 0.9, 0) / "evaluate")
    write_record(tmp_path, {"seed-0": states})
    (found,) = find_points([tmp_path], NOW).points
    assert found.state == (verb, "running")
    record = json.loads((tmp_path / "sweep.json").read_text())
    ended = subprocess.Popen(["true"])
    ended.wait()
    write_json(tmp_path / "sweep.json", {**record, "host": host_name(), "process": ended.pid})
    (found,) = find_points([tmp_path], NOW).points
    assert found.state[1] in ("incomplete", "not started")
    assert f"{verb}: it ran when its sweep's process ended without a word" in found.problems


@pytest.mark.parametrize("leaves", [(), ("evaluate",), ("evaluate/logs",)])
def test_a_stage_that_failed_without_a_run__fails_its_point(tmp_path: Path, leaves: tuple[str, ...]) -> None:
    point = write_point(tmp_path / "seed-0", "tube", 0.9, 0)
    shutil.rmtree(point / "evaluate")
    for folder in leaves:
        (point / folder).mkdir(parents=True)
    stages = {"pretrain": "finished", "finetune": "finished", "evaluate": "failed: no memory"}
    write_record(tmp_path, {"seed-0": stages})
    (found,) = find_points([tmp_path], NOW).points
    assert (found.failures, found.problems) == ({"evaluate": "no memory"}, ())
    assert found.state[1] == "failed"


def test_a_score__is_believed_against_an_old_record(tmp_path: Path) -> None:
    write_point(tmp_path / "seed-0", "tube", 0.9, 0)
    write_record(tmp_path, {"seed-0": dict.fromkeys(("pretrain", "finetune", "evaluate"), "failed: once")})
    (found,) = find_points([tmp_path], NOW).points
    assert found.state[1] == "finished"


def test_a_run_that_failed_while_setting_up__has_its_sweeps_reason(tmp_path: Path) -> None:
    """It has checkpoints/, and nothing of its own says why it ended."""
    (tmp_path / "seed-0" / "finetune" / "checkpoints").mkdir(parents=True)
    write_training(tmp_path / "seed-0" / "pretrain")
    write_record(tmp_path, {"seed-0": {"pretrain": "finished", "finetune": "failed: no memory"}})
    (found,) = find_points([tmp_path], NOW).points
    assert found.classifier is not None
    assert (found.classifier.verb, found.classifier.state) == ("finetune", ("failed", "no memory"))
    assert found.state[1] == "failed"


@pytest.mark.parametrize(
    ("attempt", "state"),
    [({}, "failed"), ({"stopped_by": "SIGTERM"}, "failed"), ({"began": "2020-01-02T11:45:00+00:00"}, "running")],
)  # fmt: skip
def test_a_failure_of_the_record__holds_until_the_run_is_started_again(
    tmp_path: Path, attempt: dict[str, str], state: str
) -> None:
    write_training(tmp_path / "seed-0" / "pretrain", finished=False, attempt=attempt)
    write_record(tmp_path, {"seed-0": {"pretrain": "failed: killed"}}, "2020-01-02T11:30:00+00:00")
    (found,) = find_points([tmp_path], NOW).points
    assert found.state[1] == state


def test_points_of_the_record_without_a_folder__are_there(tmp_path: Path) -> None:
    write_point(tmp_path / "seed-0", "tube", 0.9, 0)
    (tmp_path / "seed-1").mkdir()
    (tmp_path / "seed-1" / "pretrain.log").write_text("Error: no memory")
    write_json(tmp_path / "seed-3" / "pretrain" / "stage.json", {})
    waiting: dict[str, str] = dict.fromkeys(("pretrain", "finetune", "evaluate"), "waiting")
    write_record(
        tmp_path,
        {
            "seed-0": dict.fromkeys(waiting, "finished"),
            "seed-1": {**waiting, "pretrain": "failed: no memory"},
            "seed-2": waiting,
            "seed-3": waiting,
        },
    )
    found = find_points([tmp_path], NOW)
    states = {point.name: point.state[1] for point in found.points}
    assert states == {"seed-0": "finished", "seed-1": "failed", "seed-2": "waiting", "seed-3": "not started"}
    assert found.passed_by == ()
    assert found.points[2].problems == tuple(f"{verb}: has not begun" for verb in waiting)


def test_a_point_that_was_named_otherwise_before__is_one_point(tmp_path: Path) -> None:
    write_point(tmp_path / "ratio-0.5", "tube", 0.5, 0)
    write_point(tmp_path / "ratio-0.5+seed-1", "tube", 0.5, 1)
    for stage in ("pretrain", "finetune", "evaluate"):
        write_json(tmp_path / "ratio-0.5+seed-0" / stage / "stage.json", {"run": f"../../ratio-0.5/{stage}"})
    names = ["ratio-0.5+seed-0", "ratio-0.5+seed-1"]
    write_json(tmp_path / "sweep.json", {"points": {name: {} for name in names}})
    assert list(shape(find_points([tmp_path], NOW).points)) == names


def test_a_point_that_was_named_otherwise_before_its_score__is_one_point(tmp_path: Path) -> None:
    """Its pretraining was all there was when the sweep was extended; under its new name one point has got on."""
    write_training(tmp_path / "ratio-0.5" / "pretrain")
    write_training(tmp_path / "by-hand" / "finetune", "finetune", {"weights": "/elsewhere"})
    for seed in (0, 1):
        write_json(
            tmp_path / f"ratio-0.5+seed-{seed}" / "pretrain" / "stage.json",
            {"run": "../../ratio-0.5/pretrain"},
        )
    write_training(tmp_path / "ratio-0.5+seed-1" / "finetune", "finetune", {"weights": "/elsewhere"})
    names = ["ratio-0.5+seed-0", "ratio-0.5+seed-1"]
    write_record(tmp_path, {name: {"pretrain": "finished"} for name in names})
    assert list(shape(find_points([tmp_path], NOW).points)) == ["by-hand", *names]
    shutil.rmtree(tmp_path / "ratio-0.5+seed-0")
    write_record(tmp_path, {names[1]: {"pretrain": "finished"}})
    assert list(shape(find_points([tmp_path], NOW).points)) == ["by-hand", names[1]]


def test_broken_references_and_empty_stages__are_sentences(tmp_path: Path) -> None:
    (tmp_path / "finetune").mkdir()
    (tmp_path / "pretrain").mkdir()
    (tmp_path / "pretrain" / "stage.json").write_text("{}")
    write_evaluation(tmp_path / "evaluate")
    (point,) = find_points([tmp_path], NOW).points
    assert len(point.problems) == 2
    assert "stage.json" in point.problems[0]
    assert "finetune: has not begun" in point.problems


def test_empty_points_and_other_folders__are_told(tmp_path: Path) -> None:
    write_training(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "1_0_log.out").write_text("")
    (tmp_path / ".cache").mkdir()
    found = find_points([tmp_path], NOW)
    assert shape(found.points) == {"a": (True, False, False), "b": (False, False, False)}
    assert "empty" in found.points[1].problems[0]
    assert found.passed_by == (tmp_path / "slurm",)
    write_record(tmp_path, {"a": {"pretrain": "finished"}})
    assert find_points([tmp_path], NOW).passed_by == (), "a sweep's own logs are nothing to wonder about"


def test_runs_of_one_chain__are_joined_by_their_weights(tmp_path: Path) -> None:
    pretrained = write_training(tmp_path / "runs" / "pre")
    for name in ("one", "two"):
        config = {"weights": str(pretrained / "weights")}
        write_training(tmp_path / "runs" / name, "finetune", config)
    write_evaluation(tmp_path / "runs" / "score", tmp_path / "runs" / "one" / "weights")
    expected = {"score": (True, True, True), "two": (True, True, False)}
    assert shape(find_points([tmp_path / "runs"], NOW).points) == expected
    apart = [tmp_path / "runs" / name for name in ("pre", "one", "two", "score")]
    assert shape(find_points(apart, NOW).points) == expected
    alone = find_points([tmp_path / "runs" / "score"], NOW).points
    assert shape(alone) == {"score": (True, True, True)}, "the chain is followed to runs that were not named"


def test_a_run_with_its_score_inside__is_one_point(tmp_path: Path) -> None:
    write_training(tmp_path / "run", "finetune", {"weights": None})
    write_evaluation(tmp_path / "run" / "evaluation")
    assert shape(find_points([tmp_path / "run"], NOW).points) == {"run": (False, True, True)}


def test_the_demos_folder__holds_runs_beside_a_stages_name(tmp_path: Path) -> None:
    write_training(tmp_path / "pretrain")
    write_training(tmp_path / "from-scratch", "finetune", {"weights": None})
    assert shape(find_points([tmp_path], NOW).points) == {
        "from-scratch": (False, True, False),
        "pretrain": (True, False, False),
    }


def test_equal_names__are_told_apart(tmp_path: Path) -> None:
    for sweep in ("a", "b"):
        write_training(tmp_path / sweep / "seed-0", config=pretrain_config())
    names = [point.name for point in find_points([tmp_path / "a", tmp_path / "b"], NOW).points]
    assert names == ["a/seed-0", "b/seed-0"]


def test_what_is_no_run__is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty" / "emptier").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "absent", tmp_path / "file", tmp_path / "empty", tmp_path):
        with pytest.raises(ConfigError, match="the folder of a run"):
            find_points([folder], NOW)


def test_a_verdict__is_that_of_the_sweeps_record(tmp_path: Path) -> None:
    write_point(tmp_path / "one", "tube", 0.9, 0)
    assert find_points([tmp_path], NOW).verdicts == ()
    write_json(
        tmp_path / "sweep.json", {"points": {}, "verdict": {"words": "Nothing.", "reasons": ["few runs"]}}
    )
    assert find_points([tmp_path], NOW).verdicts == (Verdict("Nothing.", ("few runs",)),)
    write_json(tmp_path / "sweep.json", {"points": {}, "verdict": {"words": "Nothing."}})
    found = find_points([tmp_path], NOW)
    assert found.verdicts == ()
    assert "lacks 'reasons'" in found.problems[0]


def test_a_probe_that_trains_nothing__is_a_score(tmp_path: Path) -> None:
    write_training(tmp_path / "point" / "pretrain")
    write_knn(tmp_path / "point" / "probe", neighbours=5)
    (point,) = find_points([tmp_path], NOW).points
    assert shape([point]) == {"point": (True, False, True)}
    assert point.problems == ()
    assert point.evaluation is not None
    assert point.evaluation.probe["knn.neighbours"] == 5
