import numpy as np
import pytest

from videomae_train.evaluation.intervals import VideoBootstrap


def test_interval__is_near_the_normal_one_for_many_videos() -> None:
    hits = np.arange(400) % 4 != 0
    low, high = VideoBootstrap(400).of_mean(hits)
    half = 1.96 * (0.75 * 0.25 / 400) ** 0.5
    np.testing.assert_allclose([low, high], [0.75 - half, 0.75 + half], atol=0.006)


def test_interval__covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        low, high = VideoBootstrap(60, seed).of_mean(rng.random(60) < 0.7)
        covered += low <= 0.7 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_class_mean__weighs_classes_and_not_videos() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    hits = labels == 0
    low, high = VideoBootstrap(100).of_class_mean(hits, labels)
    assert low <= high
    np.testing.assert_allclose([low, high], 0.5, atol=1e-6)


def test_class_mean__a_draw_without_a_class_leaves_it_out() -> None:
    low, high = VideoBootstrap(3).of_class_mean(np.array([True, True, False]), np.array([0, 0, 1]))
    assert 0.0 <= low < high <= 1.0


def test_interval__is_the_same_again_and_another_for_another_seed() -> None:
    hits = np.random.default_rng(1).random(50) < 0.5
    assert VideoBootstrap(50).of_mean(hits) == VideoBootstrap(50).of_mean(hits)
    draws = [VideoBootstrap(50, seed)._counts for seed in (0, 1)]
    assert not np.array_equal(*draws)


@pytest.mark.parametrize("num_videos", [1, 12, 300])
def test_all_right_or_all_wrong__is_no_certainty(num_videos: int) -> None:
    """Draws of videos that are all right are all right; the binomial law knows that others may be wrong."""
    labels = np.arange(num_videos) % 3
    bootstrap = VideoBootstrap(num_videos)
    for measure in (bootstrap.of_mean, lambda hits: bootstrap.of_class_mean(hits, labels)):
        low, high = measure(np.ones(num_videos, bool))
        assert (high, 0 < low < 1) == (1.0, True)
        assert measure(np.zeros(num_videos, bool)) == pytest.approx((0.0, 1 - low))
    low, _ = bootstrap.of_mean(np.ones(num_videos, bool))
    assert low**num_videos == pytest.approx(0.025)
