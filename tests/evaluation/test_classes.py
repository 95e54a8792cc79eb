import numpy as np
import pytest

from videomae_train.evaluation.classes import class_scores, confusion_matrix, most_confused
from videomae_train.evaluation.scoring import VideoScores

CLASSES = ("climb", "dive", "sit")


@pytest.fixture
def scores() -> VideoScores:
    labels = np.array([0, 0, 0, 1, 1])
    given = np.array([0, 1, 1, 1, 0])
    return VideoScores(np.arange(5), labels, np.eye(3, dtype=np.float32)[given], ())


def test_confusion_matrix__rows_are_the_videos_classes(scores: VideoScores) -> None:
    np.testing.assert_array_equal(confusion_matrix(scores), [[1, 2, 0], [1, 1, 0], [0, 0, 0]])


def test_class_scores__a_class_without_videos_has_no_score(scores: VideoScores) -> None:
    climb, dive, sit = class_scores(confusion_matrix(scores), CLASSES)
    assert (climb.num_videos, climb.recall, climb.precision) == (3, pytest.approx(1 / 3), 0.5)
    assert (dive.num_videos, dive.recall, dive.precision) == (2, 0.5, pytest.approx(1 / 3))
    assert (sit.num_videos, sit.recall, sit.precision) == (0, None, None)


def test_most_confused__most_first_and_never_a_right_one(scores: VideoScores) -> None:
    pairs = [
        (pair.label, pair.taken_for, pair.count) for pair in most_confused(confusion_matrix(scores), CLASSES)
    ]
    assert pairs == [("climb", "dive", 2), ("dive", "climb", 1)]
    assert len(most_confused(confusion_matrix(scores), CLASSES, most=1)) == 1
