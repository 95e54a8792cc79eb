"""The page about runs: what it says of whole, broken, running and missing ones."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from run_folders import (
    NOW,
    pretrain_config,
    write_evaluation,
    write_json,
    write_point,
    write_record,
    write_training,
)

from videomae_train.pictures import write_mp4
from videomae_train.reporting.finding import find_points
from videomae_train.reporting.frames import MiddleFrames
from videomae_train.reporting.overview import runs_table
from videomae_train.reporting.parts import (
    Figure,
    Gallery,
    Remark,
    Remarks,
    Report,
    Section,
    Settings,
    Table,
    Text,
)
from videomae_train.reporting.runs_page import compose_report, summary_sentences


def page_of(folders: Sequence[Path], figures: Path) -> Report:
    found = find_points(folders, NOW)
    return compose_report(found, title="t", figures=figures, loops={}, data=None, notes=(), now=NOW)


def section(report: Report, title: str) -> Section:
    return next(each for each in report.sections if each.title == title)


def remarks(report: Report) -> list[tuple[str, str]]:
    (part,) = section(report, "Findings").parts
    assert isinstance(part, Remarks)
    return [(remark.kind, remark.text) for remark in part.rows]


def column(table: Table, name: str) -> list[str]:
    place = table.columns.index(name)
    return [row[place].text for row in table.cells]


def test_a_sweep__has_all_comparisons(tmp_path: Path) -> None:
    for kind, ratio, seed in (("tube", 0.5, 0), ("tube", 0.9, 0), ("tube", 0.9, 1), ("random", 0.9, 0)):
        run = write_point(tmp_path / "sweep" / f"{kind}-{ratio}-{seed}", kind, ratio, seed, wrong=seed + 1)
        write_mp4(
            run / "pretrain" / "reconstructions" / "step-00000004.mp4", np.zeros((2, 16, 16, 3), np.uint8), 4
        )
    report = page_of([tmp_path / "sweep"], tmp_path / "figures")
    titles = [each.title for each in report.sections if each.parts]
    assert titles[:6] == [
        "Findings", "Score against masking ratio", "Runs", "Cost against score", "Loss curves", "Reconstructions",
    ]  # fmt: skip
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"score-by-ratio.png", "score-by-cost.png", "loss-pretrain.png", "loss-finetune.png"} < drawn
    numbers = section(report, "Score against masking ratio").parts[1]
    assert isinstance(numbers, Table)
    assert column(numbers, "Seeds") == ["1", "1", "2"]
    (gallery,) = section(report, "Reconstructions").parts
    assert isinstance(gallery, Gallery)
    assert [picture.title for picture in gallery.pictures] == [
        "90 % hidden, random", "50 % hidden, tube", "90 % hidden, tube",
    ]  # fmt: skip
    (differences,) = section(report, "What differs").parts
    assert isinstance(differences, Table)
    assert differences.columns == ("Run", "seed", "masking.name", "masking.ratio", "finetune: seed")
    assert [each.fold for each in report.sections[-4:]] == [True] * 4


def test_every_state__is_on_the_page_and_none_breaks_it(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    write_point(sweep / "a-finished", "tube", 0.5, 0)
    write_training(
        sweep / "b-failed",
        losses=[1.0, float("nan")],
        finished=False,
        attempt={"failure": "E: why\nlast line"},
    )
    write_json(
        sweep / "b-failed" / "alarms.json",
        [{"name": "x", "step": 2, "words": "the loss stands", "todo": "t"}],
    )
    write_training(sweep / "c-running", finished=False, attempt={})
    write_training(sweep / "d-preempted", finished=False, attempt={"stopped_by": "SIGTERM"})
    (sweep / "e-empty").mkdir()
    (sweep / "f-nothing" / "checkpoints").mkdir(parents=True)
    write_training(sweep / "g-torn")
    for name in ("recipe.json", "run.json"):
        (sweep / "g-torn" / name).write_text('{"verb": ')
    write_evaluation(sweep / "h-score")
    (sweep / "h-score" / "scores.npz").write_bytes(b"half")
    report = page_of([sweep], tmp_path / "figures")
    (table,) = section(report, "Runs").parts
    assert isinstance(table, Table)
    states = dict(zip(column(table, "Run"), column(table, "State"), strict=True))
    # The folder was written after NOW: every sign of life is fresh.
    assert states == {
        "a-finished": "finished", "b-failed": "pretrain failed", "c-running": "pretrain running",
        "d-preempted": "pretrain preempted", "e-empty": "not started", "f-nothing": "training not started",
        "g-torn": "training running", "h-score": "finished",
    }  # fmt: skip
    said = remarks(report)
    assert said[0] == ("error", "b-failed, pretrain: failed: E: why")
    assert any("the loss stands" in text for _, text in said)
    assert any("e-empty" in text and "not begun" in text for _, text in said)
    assert any("g-torn" in text and "recipe.json cannot be read" in text for _, text in said)
    assert any("h-score" in text and "scores.npz cannot be read" in text for _, text in said)
    assert column(table, "Loss, pretraining")[1] == "NaN"
    assert report.summary[0].startswith("8 runs: 2 finished,")


def test_a_run_alone__says_everything_unfolded(tmp_path: Path) -> None:
    run = write_training(tmp_path / "run")
    write_json(run / "recipe.json", {
        "verb": "pretrain", "config": pretrain_config(),
        "changes": [{"after_step": 2, "key": "optim.steps", "was": 2, "now": 4}],
    })  # fmt: skip
    report = page_of([run], tmp_path / "figures")
    (training,) = (each for each in report.sections if each.parts)
    assert (training.title, training.note, training.fold) == ("Pretrain", "finished", None)
    settings = next(part for part in training.parts if isinstance(part, Settings))
    rows = {row.name: row.value for row in settings.rows}
    assert rows["steps"] == "4 of 4"
    assert rows["peak memory"] == "0.50 GiB"
    assert rows["loss"] == "0.7000 at step 4 (predicting the mean costs 0.9900)"
    assert rows["changed on resuming"] == "after step 2: optim.steps 2 → 4"
    assert "ratio 0.9" in rows["masking"]
    figure = next(part for part in training.parts if isinstance(part, Figure))
    assert isinstance(figure.picture, Path)
    assert figure.picture.is_file()


def test_the_highest_score__is_no_verdict_where_intervals_overlap(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "sweep" / "a", wrong=1)
    write_evaluation(tmp_path / "sweep" / "b", wrong=3)
    write_evaluation(tmp_path / "sweep" / "c", wrong=8)
    sentences = summary_sentences(find_points([tmp_path / "sweep"], NOW).points)
    assert "0.900" in sentences[1]
    assert "of a." in sentences[1]
    assert sentences[2].startswith("1 of the 2 other intervals overlap")
    far = summary_sentences(find_points([tmp_path / "sweep" / "a", tmp_path / "sweep" / "c"], NOW).points)
    assert len(far) == 2


def test_scores_on_other_videos__are_not_ranked(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a")
    write_evaluation(tmp_path / "b", selection="split2/test")
    sentences = summary_sentences(find_points([tmp_path / "a", tmp_path / "b"], NOW).points)
    assert "cannot be ranked" in sentences[1]


def test_the_same_videos_in_two_places__are_ranked(tmp_path: Path) -> None:
    for name, fingerprint in (("a", "0123"), ("b", "0123"), ("c", "4567")):
        write_evaluation(tmp_path / name, data=f"/sets/{name}", fingerprint=fingerprint)
    same, others = (
        summary_sentences(find_points([tmp_path / name for name in names], NOW).points)
        for names in ("ab", "ac")
    )
    assert "The highest score" in same[1]
    assert "cannot be ranked" in others[1]


def test_a_shared_run__is_told_of_once(tmp_path: Path) -> None:
    shared = write_training(tmp_path / "_shared", losses=[1.0], finished=False, attempt={"failure": "E: why"})
    for name in ("a", "b"):
        write_json(tmp_path / name / "pretrain" / "stage.json", {"run": "../../_shared"})
    assert shared.is_dir()
    failures = [text for kind, text in remarks(page_of([tmp_path], tmp_path / "figures")) if kind == "error"]
    assert failures == ["a, pretrain: failed: E: why"]


def test_costs__are_added_over_stages_and_sort_as_numbers(tmp_path: Path) -> None:
    write_point(tmp_path / "p", "tube", 0.9, 0)
    table = runs_table(find_points([tmp_path / "p"], NOW).points)
    hours = table.cells[0][table.columns.index("Hours")]
    # 4 steps of 16 views and 2 of 8 views, at 10 views/s.
    assert hours.order == pytest.approx((4 * 16 + 2 * 8) / 10 / 3600)
    assert hours.text == "0.13 min"
    assert column(table, "On") == ["10 of 11"]
    assert column(table, "Faults") == ["1"]


def test_levels__are_the_commonest_class_and_training_from_scratch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from videomae_train.reporting import overview

    drawn: list[dict[str, float]] = []
    monkeypatch.setattr(overview, "scores_by_ratio", lambda path, lines, levels: drawn.append(levels))
    write_point(tmp_path / "p", "tube", 0.9, 0)
    for seed, wrong in ((0, 5), (1, 7)):
        write_training(tmp_path / f"scratch-{seed}" / "finetune", "finetune", {"weights": None, "seed": seed})
        write_evaluation(tmp_path / f"scratch-{seed}" / "evaluate", wrong=wrong)
    overview._ratio_parts(find_points([tmp_path], NOW).points, tmp_path / "figures")  # pyright: ignore[reportPrivateUsage]
    floor = {"always the commonest class": pytest.approx(0.4)}  # 4 of 10 videos
    assert drawn == [{"from scratch (n = 2)": pytest.approx(0.4), **floor}]


def test_verdict_of_a_sweep__comes_first(tmp_path: Path) -> None:
    write_point(tmp_path / "one", "tube", 0.9, 0)
    write_point(tmp_path / "two", "tube", 0.5, 0)
    verdict = {"words": "It is inconclusive.", "reasons": ["few steps", "few videos"]}
    write_json(tmp_path / "sweep.json", {"verdict": verdict})
    report = page_of([tmp_path], tmp_path / "figures")
    assert report.summary[0] == "It is inconclusive."
    assert report.sections[0].parts == (Text("few steps"), Text("few videos"))
    (tmp_path / "sweep.json").write_text("{")
    broken = page_of([tmp_path], tmp_path / "figures")
    assert any("sweep.json cannot be read" in text for _, text in remarks(broken))


def test_failures_and_waiting_points_of_a_record__are_told_and_counted(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    names = [f"seed-{seed}" for seed in range(60)]
    for name in names[:2]:
        write_training(sweep / name / "pretrain")
    finished = {"pretrain": "finished", "evaluate": "waiting"}
    stages: dict[str, str] = dict.fromkeys(("pretrain", "evaluate"), "waiting")
    waiting = dict.fromkeys(names[2:], stages)
    write_record(sweep, {names[0]: finished, names[1]: {**finished, "evaluate": "failed: why"}, **waiting})
    report = page_of([sweep], tmp_path / "figures")
    assert report.summary[0] == "60 runs: 58 waiting, 1 incomplete, 1 failed."
    said = remarks(report)
    assert said[0] == ("error", "seed-1, evaluate: failed: why")
    assert said.count(("note", "Points that have not begun: 58.")) == 1
    (table,) = section(report, "Runs").parts
    assert isinstance(table, Table)
    assert column(table, "State")[:2] == ["incomplete", "evaluate failed"]
    assert set(column(table, "State")[2:]) == {"waiting"}
    assert section(report, "seed-1").note == "failed"
    alone = page_of([sweep / "seed-1"], tmp_path / "figures")
    assert alone.summary[0] == "evaluate failed: why."
    (missing,) = section(alone, "Missing").parts
    assert missing == Remarks((Remark("error", "evaluate: failed: why"),))


def test_a_score_on_videos_that_its_weights_knew__says_so(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a", wrong=1, remarks="trained on 3 of them; chosen on these very videos")
    write_evaluation(tmp_path / "b", wrong=5)
    report = page_of([tmp_path], tmp_path / "figures")
    assert "by weights trained on 3 of them; chosen on these very videos), of a." in report.summary[1]
    assert any(
        kind == "warning" and text.startswith("a: beware, the score is of weights trained on")
        for kind, text in remarks(report)
    )


@pytest.mark.parametrize(("count", "shown"), [(12, set(range(12))), (13, {0, 9})])
def test_frames__are_of_the_best_and_the_worst_score_where_points_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, shown: set[int]
) -> None:
    from videomae_train.reporting import classification

    asked: list[str | None] = []

    def frames(data: str | None, *_: object, may_fetch: bool) -> MiddleFrames:
        asked.append(data)
        return MiddleFrames(None, *_, may_fetch=may_fetch)  # type: ignore[arg-type]

    monkeypatch.setattr(classification, "MiddleFrames", frames)
    for number in range(count):
        wrong = {0: 1, 9: 8}.get(number, 4)
        write_evaluation(tmp_path / "sweep" / f"{number:02d}", wrong=wrong, data=f"/sets/{number}")
    report = page_of([tmp_path / "sweep"], tmp_path / "figures")
    assert set(asked) == {f"/sets/{number}" for number in shown}
    (words,) = section(report, "Single runs").parts
    assert isinstance(words, Text)
    assert ("only those of the highest and the lowest score" in words.words) == (count > 12)
