"""The mean over splits."""

import numpy as np
import pytest

from videomae_train.config.evaluate import Evaluation, ScoredWeights, mean_over
from videomae_train.evaluation.intervals import Interval
from videomae_train.evaluation.scoring import Accuracy


def score(top1: float, top5: float | None = None, num_videos: int = 10) -> Evaluation:
    interval = Interval(0.0, 1.0)
    accuracy = Accuracy(top1, top5, top1 / 2, interval, interval, num_videos, num_videos)
    return Evaluation(accuracy, ScoredWeights(None, None, None), "5 x 3", None)


def test_mean__weighs_splits_the_same_whatever_their_size() -> None:
    result = mean_over({"1": score(0.9, 1.0, 1000), "2": score(0.8, 0.9), "3": score(0.4, 0.8)})
    deviation = np.std([0.9, 0.8, 0.4], ddof=1)
    assert (result.top1.mean, result.top1.std) == (pytest.approx(0.7), pytest.approx(deviation))
    assert result.top5 is not None
    assert (result.top5.mean, result.top5.std) == (pytest.approx(0.9), pytest.approx(0.1))
    assert result.mean_class.mean == pytest.approx(0.35)


def test_mean__of_one_split_has_no_deviation() -> None:
    result = mean_over({"1": score(0.9)})
    assert (result.top1.mean, result.top1.std, result.top5) == (0.9, None, None)
