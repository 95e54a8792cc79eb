"""What the page shows of a score."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from run_folders import CLASSES, write_evaluation

from videomae_train.data.index import PackedDataset
from videomae_train.reporting.classification import evaluation_parts
from videomae_train.reporting.facts import EvaluationFacts, VideoPredictions
from videomae_train.reporting.frames import MiddleFrames
from videomae_train.reporting.parts import Figure, Gallery, Part, Remarks, Scores, Table
from videomae_train.reporting.reading import read_evaluation


def facts_of(folder: Path, **how: object) -> EvaluationFacts:
    facts = read_evaluation(write_evaluation(folder, **how))  # type: ignore[arg-type]
    assert isinstance(facts, EvaluationFacts)
    return facts


def parts_of(folder: Path, **how: object) -> list[Part]:
    return evaluation_parts(facts_of(folder, **how), folder / "figures", "run", None)


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.cells]


def test_a_score__stands_with_its_conditions_and_chance(tmp_path: Path) -> None:
    (scores,) = (part for part in parts_of(tmp_path) if isinstance(part, Scores))
    top1, mean_class, chance = scores.rows
    assert (top1.name, top1.value, top1.interval) == ("top-1", 0.8, pytest.approx((0.6, 1.0)))
    assert "on 10 of 11 videos" in top1.conditions
    assert mean_class.name == "mean over classes"
    assert chance.value == 1 / len(CLASSES)


def test_unreadable_videos__are_named(tmp_path: Path) -> None:
    remarks = parts_of(tmp_path)[0]
    assert isinstance(remarks, Remarks)
    assert "10 of 11" in remarks.rows[0].text
    assert remarks.rows[0].details == ("broken: truncated (no moov)",)


def test_weights_that_knew_the_videos__are_a_warning(tmp_path: Path) -> None:
    remarks = parts_of(tmp_path, remarks="chosen on these very videos")[0]
    assert isinstance(remarks, Remarks)
    assert remarks.rows[0].kind == "warning"
    assert remarks.rows[0].text == "beware, the score is of weights chosen on these very videos."


def test_classes_and_pairs__are_tables(tmp_path: Path) -> None:
    parts = parts_of(tmp_path, wrong=4)
    classes, pairs, hardest = (part for part in parts if isinstance(part, Table))
    assert [row[:2] for row in texts(classes)] == [["jump", "4"], ["run", "3"], ["sit", "3"]]
    assert classes.sorts
    assert texts(pairs)[0][:3] == ["jump", "run", "2"]
    assert texts(pairs)[0][4] == "video0, video3", "the lowest probability of the right class first"
    assert texts(hardest)[0][0] == "video0"
    assert "jump" in texts(hardest)[0][1]
    assert "taken for run" in texts(hardest)[0][1]
    assert "No pictures: the score does not say which set it is of" in hardest.caption


def test_the_confusion_matrix__is_a_figure(tmp_path: Path) -> None:
    (figure,) = (part for part in parts_of(tmp_path) if isinstance(part, Figure))
    assert isinstance(figure.picture, Path)
    assert figure.picture.is_file()
    assert "taken for" in figure.words


def test_nothing_wrong__is_no_table_of_pairs(tmp_path: Path) -> None:
    tables = [part for part in parts_of(tmp_path, wrong=0) if isinstance(part, Table)]
    assert len(tables) == 2


def predictions_of(
    dataset: PackedDataset, rows: list[int], keys: tuple[str, ...] | None = None
) -> VideoPredictions:
    named = keys or tuple(dataset.key(row) for row in rows)
    labels = dataset.labels[rows].astype(np.int64)
    wrong = np.eye(2, dtype=np.float32)[1 - labels] * 0.8 + 0.1
    return VideoPredictions(named, np.array(rows), labels, wrong, dataset.classes)


def test_frames__come_from_the_set_that_was_scored(packed_motions: Path) -> None:
    dataset = PackedDataset.open(packed_motions)
    frames = MiddleFrames(str(packed_motions), predictions_of(dataset, [1, 4]), may_fetch=False)
    assert frames.problem == ""
    first, second = frames.of(0), frames.of(1)
    assert first is not None
    assert first[8:12] == b"WEBP"
    assert first != second


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (None, "does not say"), ("/nowhere", "cannot be opened"), ("other", "other keys"),
        ("http://host/set", "--data http://host/set"),
    ],
)  # fmt: skip
def test_another_set_or_none__gives_no_frames_and_says_why(
    data: str | None, why: str, packed_motions: Path
) -> None:
    dataset = PackedDataset.open(packed_motions)
    keys = ("somebody", "else") if data == "other" else None
    place = str(packed_motions) if data == "other" else data
    frames = MiddleFrames(place, predictions_of(dataset, [1, 4], keys), may_fetch=False)
    assert frames.of(0) is None
    assert why in frames.problem


def test_hardest_videos__are_shown_by_a_frame(packed_motions: Path, tmp_path: Path) -> None:
    dataset = PackedDataset.open(packed_motions)
    facts = replace(facts_of(tmp_path), predictions=predictions_of(dataset, [1, 4, 7]), confused=())
    parts = evaluation_parts(facts, tmp_path / "figures", "run", str(packed_motions))
    (gallery,) = (part for part in parts if isinstance(part, Gallery))
    assert [picture.caption for picture in gallery.pictures] == [dataset.key(row) for row in (1, 4, 7)]
    assert "taken for" in gallery.pictures[0].title


def test_without_frames__the_same_videos_are_named(packed_motions: Path, tmp_path: Path) -> None:
    dataset = PackedDataset.open(packed_motions)
    facts = replace(facts_of(tmp_path), predictions=predictions_of(dataset, [1, 4, 7]), confused=())
    parts = evaluation_parts(facts, tmp_path / "figures", "run", str(packed_motions), has_frames=False)
    assert not any(isinstance(part, Gallery) for part in parts)
    *_, hardest = (part for part in parts if isinstance(part, Table))
    assert [row[0] for row in texts(hardest)] == [dataset.key(row) for row in (1, 4, 7)]
    assert "No pictures" not in hardest.caption, "the page says once why"
