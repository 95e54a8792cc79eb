"""Folders in any state become facts and sentences."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from run_folders import NOW, pretrain_config, write_evaluation, write_json, write_metrics, write_training

from videomae_train.reporting.facts import EvaluationFacts
from videomae_train.reporting.reading import is_run, read_evaluation, read_training


def test_a_whole_run__is_read(tmp_path: Path) -> None:
    facts = read_training(write_training(tmp_path), NOW)
    assert (facts.verb, facts.state.name, facts.steps, facts.total_steps) == ("pretrain", "finished", 4, 4)
    assert facts.loss == 0.7
    assert facts.baselines == {"predict_mean": 0.99}
    assert facts.memory_gib == 0.5
    assert facts.problems == ()


def test_hours__are_the_views_of_all_steps_through_their_speeds(tmp_path: Path) -> None:
    write_training(tmp_path)
    write_metrics(tmp_path, [0.6, 0.5], first=14, attempt=1)
    facts = read_training(tmp_path, NOW)
    assert facts.views_per_step == 16
    # 15 steps of 8 videos x 2 views at 10 views/s.
    assert facts.hours == pytest.approx(15 * 16 / 10 / 3600)
    assert facts.num_attempts == 2


def test_nan_losses_and_half_rows__are_read_as_they_are(tmp_path: Path) -> None:
    write_training(tmp_path, losses=[1.0, float("nan")], finished=False)
    write_metrics(tmp_path, [1.0, float("nan")], end="3,0.")
    facts = read_training(tmp_path, NOW)
    assert facts.loss is not None
    assert np.isnan(facts.loss)
    assert facts.steps == 2


@pytest.mark.parametrize("name", ["recipe.json", "run.json", "attempt.json", "alarms.json", "faults.json"])
@pytest.mark.parametrize("content", [b"", b'{"verb": "pre', b"[1, 2]", b'"x"', b"\xff\xfe", b"null", b"{}"])
def test_broken_files__are_sentences_at_most(tmp_path: Path, name: str, content: bytes) -> None:
    write_training(tmp_path, attempt={})
    (tmp_path / name).write_bytes(content)
    facts = read_training(tmp_path, NOW)
    assert facts.steps == 4
    if content in (b"", b'{"verb": "pre', b"\xff\xfe"):
        assert [problem for problem in facts.problems if f"its {name} cannot be read" in problem]


def test_an_empty_run__says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    assert is_run(tmp_path)
    facts = read_training(tmp_path, NOW)
    assert facts.state.name == "not started"
    assert (facts.steps, facts.loss, facts.hours, facts.views_per_sec, facts.memory_gib) == (
        0,
        None,
        None,
        None,
        None,
    )
    assert len(facts.problems) == 2
    assert "recipe.json" in facts.problems[0]


def test_faults_and_alarms__are_told_once_each(tmp_path: Path) -> None:
    write_training(tmp_path)
    fault = {
        "key": "a",
        "shard": "s",
        "sample_id": 1,
        "position": 3,
        "cause": "truncated",
        "detail": "no moov",
    }
    write_json(tmp_path / "faults.json", [fault, {**fault, "position": 9}, {"key": "half"}])
    write_json(tmp_path / "alarms.json", [{"name": "faults", "step": 3, "words": "w", "todo": "t", "new": 1}])
    facts = read_training(tmp_path, NOW)
    assert [each.key for each in facts.faults] == ["a"]
    assert facts.num_faults == 3
    assert [alarm.words for alarm in facts.alarms] == ["w"]


def test_loops__are_in_the_order_of_steps(tmp_path: Path) -> None:
    write_training(tmp_path)
    for name in ("step-00000900.mp4", "step-00000100.mp4", "step-00000100.png", "other.mp4"):
        (tmp_path / "reconstructions").mkdir(exist_ok=True)
        (tmp_path / "reconstructions" / name).write_bytes(b"mp4")
    assert list(read_training(tmp_path, NOW).loops) == [100, 900]


def test_failures_of_ranks__are_the_reason(tmp_path: Path) -> None:
    write_training(tmp_path, finished=False)
    write_json(tmp_path / "ranks" / "rank-0001.json", {"rank": 1, "failure": "TrainingError: it died"})
    (tmp_path / "ranks" / "rank-0000.json").write_text('{"rank"')
    assert read_training(tmp_path, NOW).state == ("failed", "rank 1: TrainingError: it died")


def test_failures_of_ranks__of_an_earlier_attempt_are_over(tmp_path: Path) -> None:
    write_training(tmp_path, finished=False, attempt={})
    failure = tmp_path / "ranks" / "rank-0001.json"
    write_json(failure, {"rank": 1, "failure": "TrainingError: it died"})
    began = (tmp_path / "attempt.json").stat().st_mtime
    os.utime(failure, (began - 1, began - 1))
    assert read_training(tmp_path, NOW).state.name == "running"


def test_a_loop_without_content__is_left_out_and_told(tmp_path: Path) -> None:
    write_training(tmp_path)
    (tmp_path / "reconstructions").mkdir()
    (tmp_path / "reconstructions" / "step-00000002.mp4").write_bytes(b"mp4")
    (tmp_path / "reconstructions" / "step-00000004.mp4").touch()
    facts = read_training(tmp_path, NOW)
    assert list(facts.loops) == [2]
    assert "step-00000004.mp4: nothing in it, and left out" in facts.problems


def test_a_score__is_read_with_its_predictions(tmp_path: Path) -> None:
    facts = read_evaluation(write_evaluation(tmp_path))
    assert isinstance(facts, EvaluationFacts)
    assert facts.standing == "10 of 11"
    assert facts.confusion_matrix.sum() == 10
    assert facts.predictions is not None
    hits = facts.predictions.probabilities.argmax(1) == facts.predictions.labels
    assert hits.mean() == facts.top1
    np.testing.assert_array_equal(
        facts.predictions.of_right_class[:2], facts.predictions.probabilities[[0, 1], [0, 1]]
    )


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 half", b"\x93NUMPY"])
def test_predictions_that_cannot_be_read__leave_the_score(tmp_path: Path, content: bytes | None) -> None:
    write_evaluation(tmp_path)
    if content is None:
        (tmp_path / "scores.npz").unlink()
    else:
        (tmp_path / "scores.npz").write_bytes(content)
    facts = read_evaluation(tmp_path)
    assert isinstance(facts, EvaluationFacts)
    assert facts.predictions is None
    assert "scores.npz" in facts.problems[0]


def test_half_a_score__is_a_sentence(tmp_path: Path) -> None:
    assert read_evaluation(tmp_path) == "has no metrics.json: there is no score"
    write_evaluation(tmp_path)
    (tmp_path / "metrics.json").write_text('{"top1": 0.')
    assert "cannot be read" in str(read_evaluation(tmp_path))
    (tmp_path / "metrics.json").write_text(json.dumps({"weights": "w", "selection": "s", "views": "v"}))
    assert read_evaluation(tmp_path) == "its metrics.json lacks 'top1'"


def test_a_config_without_batch__has_no_hours(tmp_path: Path) -> None:
    config = {key: value for key, value in pretrain_config().items() if key != "optim"}
    assert read_training(write_training(tmp_path, config=config), NOW).hours is None
