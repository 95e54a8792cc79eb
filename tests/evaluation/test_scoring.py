import numpy as np
import pytest
import torch

from videomae_train.errors import TrainingError
from videomae_train.evaluation.scoring import (
    VideoScores,
    measure_accuracy,
    merge_scores,
    score_videos,
    top_k_share,
)
from videomae_train.model import VideoMAEConfig, VideoMAEForVideoClassification
from videomae_train.types import EvaluationBatch, Fault

CONFIG = VideoMAEConfig(
    image_size=16, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=48, head_init_scale=1.0, drop_path_rate=0.2, num_labels=3,
)  # fmt: skip
FAULT = Fault("b", "shard-000000.tar", 7, -1, "truncated", "cut")


def make_batch(ids: list[int], views: int, faults: tuple[Fault, ...] = ()) -> EvaluationBatch:
    clips = [
        torch.from_numpy(
            np.random.default_rng(number).integers(0, 256, (views, 4, 3, 16, 16), dtype=np.uint8)
        )
        for number in ids
    ]
    stacked = torch.stack(clips) if clips else torch.zeros((0, views, 4, 3, 16, 16), dtype=torch.uint8)
    return EvaluationBatch(stacked, torch.tensor([n % 3 for n in ids]), torch.tensor(ids), faults)


def scores_of(
    probabilities: list[list[float]], labels: list[int], faults: tuple[Fault, ...] = ()
) -> VideoScores:
    return VideoScores(np.arange(len(labels)), np.array(labels), np.array(probabilities, np.float32), faults)


@pytest.fixture
def model() -> VideoMAEForVideoClassification:
    torch.manual_seed(0)
    return VideoMAEForVideoClassification(CONFIG)


def test_views__softmax_comes_before_the_mean(model: VideoMAEForVideoClassification) -> None:
    batch = make_batch([0], views=2)
    with torch.no_grad():
        logits = model.eval().classify(batch.clips[0])
    scores = score_videos(model, [batch], torch.device("cpu"))
    torch.testing.assert_close(torch.from_numpy(scores.probabilities[0]), logits.softmax(-1).mean(0))
    assert not torch.allclose(logits.softmax(-1).mean(0), logits.mean(0).softmax(-1), atol=1e-7)


def test_scores__do_not_depend_on_how_videos_are_batched_or_shared(
    model: VideoMAEForVideoClassification,
) -> None:
    device = torch.device("cpu")
    whole = score_videos(model, [make_batch([0, 1, 2, 3, 4], 2)], device)
    parts = [
        score_videos(model, [make_batch([1], 2), make_batch([3], 2)], device),
        score_videos(model, [make_batch([0, 2, 4], 2)], device),
        score_videos(model, [], device),
    ]
    merged = merge_scores(parts)
    np.testing.assert_array_equal(merged.sample_ids, whole.sample_ids)
    np.testing.assert_array_equal(merged.labels, whole.labels)
    np.testing.assert_allclose(merged.probabilities, whole.probabilities, atol=1e-6)


def test_scores__leave_the_model_as_it_was(model: VideoMAEForVideoClassification) -> None:
    model.train()
    first = score_videos(model, [make_batch([0], 1)], torch.device("cpu"))
    second = score_videos(model, [make_batch([0], 1)], torch.device("cpu"))
    assert model.training
    np.testing.assert_array_equal(first.probabilities, second.probabilities)


def test_unreadable_videos__are_counted_and_not_replaced(model: VideoMAEForVideoClassification) -> None:
    batches = [make_batch([0, 1], 1, (FAULT,)), make_batch([], 1, (FAULT,))]
    accuracy = measure_accuracy(score_videos(model, batches, torch.device("cpu")))
    assert (accuracy.num_scored, accuracy.num_videos) == (2, 4)


def test_accuracy__by_hand() -> None:
    accuracy = measure_accuracy(
        scores_of([[0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1]], [0, 0, 1, 1])
    )
    assert accuracy.top1 == pytest.approx(0.75)
    assert accuracy.mean_class == pytest.approx((1.0 + 0.5) / 2)
    assert accuracy.top5 is None


def test_accuracy__top5_among_more_classes() -> None:
    probabilities = np.tile(np.arange(7, 0, -1) / 28, (2, 1))
    accuracy = measure_accuracy(scores_of(probabilities.tolist(), [4, 5]))
    assert (accuracy.top1, accuracy.top5) == (0.0, 0.5)


def test_accuracy__equal_probabilities_rank_in_the_order_of_the_classes() -> None:
    """Votes of few neighbours leave most classes at 0: to be one of them is no hit among the first five."""
    votes = [[0.0, 0.6, 0.4, 0.0, 0.0, 0.0, 0.0]] * 7
    scores = scores_of(votes, list(range(7)))
    assert [top_k_share(scores, k) for k in (1, 2, 3, 5, 7)] == [1 / 7, 2 / 7, 3 / 7, 5 / 7, 1.0]
    accuracy = measure_accuracy(scores)
    assert (accuracy.top1, accuracy.top5) == (1 / 7, 5 / 7)
    random = np.random.default_rng(0).integers(0, 4, (300, 9)).astype(np.float32)
    labels = np.random.default_rng(1).integers(0, 9, 300)
    ranked = np.argsort(-random, axis=1, kind="stable")
    for k in range(1, 10):
        by_sorting = (ranked[:, :k] == labels[:, None]).any(1).mean()
        assert top_k_share(scores_of(random.tolist(), labels.tolist()), k) == by_sorting


def test_accuracy__of_no_numbers_is_none() -> None:
    nothing = scores_of([[float("nan")] * 7] * 2, [0, 1])
    assert (measure_accuracy(nothing).top1, measure_accuracy(nothing).top5) == (0.0, 0.0)


def test_accuracy__of_nothing_is_an_error() -> None:
    empty = VideoScores(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3), np.float32), (FAULT,))
    with pytest.raises(TrainingError, match="no readable video, 1 unreadable"):
        measure_accuracy(empty)


def test_merge__a_video_scored_twice_is_an_error() -> None:
    part = scores_of([[0.5, 0.5]], [0])
    with pytest.raises(TrainingError, match=r"rows \[0\]"):
        merge_scores([part, part])
