import numpy as np
import pytest

from videomae_train.evaluation.intervals import RecordingBootstrap


def test_interval__is_near_the_normal_one_for_many_videos() -> None:
    hits = np.arange(400) % 4 != 0
    low, high = RecordingBootstrap(np.arange(400)).of_mean(hits)
    half = 1.96 * (0.75 * 0.25 / 400) ** 0.5
    np.testing.assert_allclose([low, high], [0.75 - half, 0.75 + half], atol=0.006)


def test_interval__covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        low, high = RecordingBootstrap(np.arange(60), seed).of_mean(rng.random(60) < 0.7)
        covered += low <= 0.7 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_interval__of_recordings_covers_the_truth_where_videos_drawn_one_by_one_do_not() -> None:
    """Five clips of each of 40 recordings are right or wrong together: they are worth 40 videos and not 200."""
    rng = np.random.default_rng(0)
    recordings = np.repeat(np.arange(40), 5)
    covered = np.zeros(2)
    for seed in range(200):
        hits = (rng.random(40) < 0.7)[recordings]
        for way, numbers in enumerate((recordings, np.arange(200))):
            low, high = RecordingBootstrap(numbers, seed).of_mean(hits)
            covered[way] += low <= 0.7 <= high
    together, one_by_one = covered / 200
    assert together >= 0.88
    assert one_by_one <= 0.75


def test_interval__of_recordings_draws_unequal_ones_whole() -> None:
    """Of a large recording that is right and a small one that is wrong, each drawn twice, once, or not at all."""
    hits = np.array([True] * 9 + [False])
    recordings = np.array([0] * 9 + [1])
    assert RecordingBootstrap(recordings).of_mean(hits) == (0.0, 1.0)
    assert RecordingBootstrap(recordings).of_class_mean(hits, np.zeros(10, np.int64)) == (0.0, 1.0)


def test_interval__of_all_right_counts_recordings() -> None:
    recordings = np.repeat(np.arange(12), 5)
    bootstrap = RecordingBootstrap(recordings)
    assert bootstrap.of_mean(np.ones(60, bool)).low == pytest.approx(0.025 ** (1 / 12))
    labels = recordings % 3
    assert bootstrap.of_class_mean(np.ones(60, bool), labels).low == pytest.approx(0.025 ** (1 / 12))


def test_class_mean__weighs_classes_and_not_videos() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    hits = labels == 0
    low, high = RecordingBootstrap(np.arange(100)).of_class_mean(hits, labels)
    assert low <= high
    np.testing.assert_allclose([low, high], 0.5, atol=1e-6)


def test_class_mean__a_draw_without_a_class_leaves_it_out() -> None:
    low, high = RecordingBootstrap(np.arange(3)).of_class_mean(
        np.array([True, True, False]), np.array([0, 0, 1])
    )
    assert 0.0 <= low < high <= 1.0


def test_interval__is_the_same_again_and_another_for_another_seed() -> None:
    hits = np.random.default_rng(1).random(50) < 0.5
    assert RecordingBootstrap(np.arange(50)).of_mean(hits) == RecordingBootstrap(np.arange(50)).of_mean(hits)
    draws = [RecordingBootstrap(np.arange(50), seed)._counts for seed in (0, 1)]
    assert not np.array_equal(*draws)


@pytest.mark.parametrize("num_videos", [1, 12, 300])
def test_all_right_or_all_wrong__is_no_certainty(num_videos: int) -> None:
    """Draws of videos that are all right are all right; the binomial law knows that others may be wrong."""
    labels = np.arange(num_videos) % 3
    bootstrap = RecordingBootstrap(np.arange(num_videos))
    for measure in (bootstrap.of_mean, lambda hits: bootstrap.of_class_mean(hits, labels)):
        low, high = measure(np.ones(num_videos, bool))
        assert (high, 0 < low < 1) == (1.0, True)
        assert measure(np.zeros(num_videos, bool)) == pytest.approx((0.0, 1 - low))
    low, _ = bootstrap.of_mean(np.ones(num_videos, bool))
    assert low**num_videos == pytest.approx(0.025)
