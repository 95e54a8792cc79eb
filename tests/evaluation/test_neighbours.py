"""Votes of nearest neighbours, recounted in plain numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from videomae_train.errors import TrainingError
from videomae_train.evaluation import features as features_module
from videomae_train.evaluation.features import knn_accuracy
from videomae_train.evaluation.neighbours import (
    VideoFeatures,
    merge_features,
    score_by_neighbours,
    video_features,
)
from videomae_train.model import VideoMAEConfig, VideoMAEModel
from videomae_train.types import EvaluationBatch, Fault

CONFIG = VideoMAEConfig(
    image_size=16, patch_size=8, num_frames=2, hidden_size=24, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=48,
)  # fmt: skip
FAULT = Fault("key", "shard", 9, -1, "broken", "")


def drawn(number: int, first_id: int, seed: int) -> VideoFeatures:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (number,), generator=generator)
    return VideoFeatures(
        torch.arange(first_id, first_id + number),
        labels,
        torch.randn(number, 6, generator=generator) + 1.0,
        (FAULT,),
    )


def recount(voting: VideoFeatures, asked: VideoFeatures, k: int, temperature: float) -> np.ndarray:
    """Each class's share of exp(cosine / temperature) over the k nearest, one video after the other."""
    shares = np.zeros((len(asked.labels), 4))
    for row, feature in enumerate(asked.features.double().numpy()):
        votes = []
        for neighbour, label in zip(voting.features.double().numpy(), voting.labels.tolist(), strict=True):
            cosine = feature @ neighbour / np.sqrt((feature @ feature) * (neighbour @ neighbour))
            votes.append((cosine, label))
        for cosine, label in sorted(votes, reverse=True)[:k]:
            shares[row, label] += np.exp(cosine / temperature)
    return shares / shares.sum(1, keepdims=True)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (5, 0.07), (5, 1.0), (500, 0.2)])
def test_scores__equal_a_plain_recount(monkeypatch: pytest.MonkeyPatch, k: int, temperature: float) -> None:
    monkeypatch.setattr(features_module, "_KNN_ROWS", 7)  # several parts, the last one smaller
    voting, asked = drawn(40, 0, 1), drawn(30, 100, 2)
    scores = score_by_neighbours(voting, asked, num_classes=4, k=k, temperature=temperature)
    np.testing.assert_allclose(scores.probabilities, recount(voting, asked, k, temperature), atol=1e-5)
    assert scores.probabilities.dtype == np.float32
    assert scores.sample_ids.tolist() == list(range(100, 130))
    assert scores.labels.tolist() == asked.labels.tolist()
    assert scores.faults == (FAULT,), "of those asked: on so many of so many"


def test_online_probe__is_the_same_vote() -> None:
    voting, asked = drawn(40, 0, 1), drawn(30, 100, 2)
    expected = (recount(voting, asked, 20, 0.07).argmax(1) == asked.labels.numpy()).mean()
    assert knn_accuracy(voting.features, voting.labels, asked.features, asked.labels) == pytest.approx(
        expected
    )


def test_votes__of_a_small_temperature_stay_numbers() -> None:
    scores = score_by_neighbours(drawn(9, 0, 1), drawn(5, 100, 2), num_classes=4, k=3, temperature=1e-4)
    np.testing.assert_allclose(scores.probabilities.sum(1), 1.0, rtol=1e-6)


def test_nobody_votes__is_an_error() -> None:
    with pytest.raises(TrainingError, match=r"data\.selection: no readable video, 1 unreadable"):
        score_by_neighbours(drawn(0, 0, 1), drawn(5, 100, 2), num_classes=4, k=3, temperature=0.1)


def test_features__are_the_mean_over_views_and_tokens() -> None:
    torch.manual_seed(0)
    model = VideoMAEModel(replace(CONFIG, encoder_norm=False)).eval()
    clips = torch.randint(0, 256, (3, 4, 2, 3, 16, 16), dtype=torch.uint8)
    labels, ids = torch.tensor([1, 0, 1]), torch.tensor([7, 3, 5])
    batches = [
        EvaluationBatch(clips[:2], labels[:2], ids[:2], ()),
        EvaluationBatch(clips[:0], labels[:0], ids[:0], (FAULT,)),
        EvaluationBatch(clips[2:], labels[2:], ids[2:], ()),
    ]
    found = video_features(model, batches, torch.device("cpu"))
    assert found.sample_ids.tolist() == [3, 5, 7]
    assert found.labels.tolist() == [0, 1, 1]
    assert found.faults == (FAULT,)
    pixels = model.encoder.patch_embed.normalise_clips(clips.flatten(0, 1))
    expected = model(pixels).last_hidden_state.mean(1).view(3, 4, 24).mean(1)
    torch.testing.assert_close(found.features, expected[[1, 2, 0]], rtol=1e-5, atol=1e-5)


def test_rank_without_videos__joins_the_others() -> None:
    none = video_features(VideoMAEModel(CONFIG).eval(), [], torch.device("cpu"))
    some = drawn(4, 0, 1)
    joined = merge_features([none, replace(some, features=torch.zeros(4, 24))])
    assert joined.features.shape == (4, 24)
