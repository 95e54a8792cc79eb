import math
from collections.abc import Callable

import pytest
import torch

from videomae_train.errors import TrainingError
from videomae_train.evaluation.features import clip_features, effective_rank, knn_accuracy, ridge_accuracy
from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining

CONFIG = VideoMAEConfig(
    image_size=16, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=48, decoder_hidden_size=12, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
    decoder_intermediate_size=24,
)  # fmt: skip


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def two_classes(count: int, seed: int, distance: float) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.arange(count) % 2
    features = draw(count, 6, seed=seed)
    features[:, 2] += distance * (labels * 2 - 1)
    return features, labels


def test_clip_features__are_the_mean_token_of_the_whole_clip() -> None:
    model = VideoMAEForPreTraining(CONFIG).eval()
    clips = torch.randint(0, 256, (3, 4, 3, 16, 16), dtype=torch.uint8)
    features = clip_features(model, clips)
    pixels = model.encoder.patch_embed.normalise_clips(clips)
    tokens = model.encoder(model.encoder.patch_embed.cut(pixels))
    assert tokens.shape[1] == CONFIG.grid.num_tokens
    torch.testing.assert_close(features, tokens.mean(1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(features[1:2], clip_features(model, clips[1:2]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("accuracy", [knn_accuracy, ridge_accuracy])
def test_probes__see_classes_that_are_there_and_none_that_are_not(accuracy: Callable[..., float]) -> None:
    assert accuracy(*two_classes(100, 0, 6.0), *two_classes(50, 1, 6.0)) == 1.0
    assert 0.25 < accuracy(*two_classes(100, 0, 0.0), *two_classes(50, 1, 0.0)) < 0.75
    train, test = two_classes(100, 0, 6.0), two_classes(50, 1, 6.0)
    assert accuracy(*train, test[0], 1 - test[1]) == 0.0
    with pytest.raises(TrainingError):
        accuracy(*train, test[0][:0], test[1][:0])


def test_knn__weighs_a_near_neighbour_more_than_several_far_ones_and_ignores_length() -> None:
    train = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    labels = torch.tensor([0, 1, 1, 1])
    test = torch.tensor([[50.0, 10.0]])
    assert knn_accuracy(train, labels, test, torch.tensor([0]), k=4) == 1.0
    # Only the k nearest vote: at the same angle to all, the three of class 1 outvote the other.
    assert knn_accuracy(train, labels, torch.tensor([[1.0, 1.0]]), torch.tensor([1]), k=4) == 1.0
    assert knn_accuracy(train, labels, torch.tensor([[1.0, 0.9]]), torch.tensor([0]), k=1) == 1.0


def test_ridge__does_not_depend_on_the_features_scale_or_offset() -> None:
    train, test = two_classes(40, 0, 0.5), two_classes(60, 1, 0.5)
    scale, offset = torch.logspace(-3, 3, 6), 5.0
    moved = ridge_accuracy(train[0] * scale + offset, train[1], test[0] * scale + offset, test[1])
    assert moved == ridge_accuracy(*train, *test)
    constant = (
        torch.full((40, 1), 7.0),
        torch.full((60, 1), -7.0),
    )  # tells nothing, whatever it does in the test
    wider = [torch.cat([part[0], more], 1) for part, more in zip((train, test), constant, strict=True)]
    assert ridge_accuracy(wider[0], train[1], wider[1], test[1]) == moved


def test_effective_rank__counts_directions() -> None:
    directions = torch.cat([torch.eye(8), -torch.eye(8)])
    assert effective_rank(directions) == pytest.approx(8)
    assert effective_rank(directions * 100 + 3) == pytest.approx(8)
    assert effective_rank(draw(64, 1) @ draw(1, 24, seed=1)) == pytest.approx(1)
    shares = torch.tensor([3.0, 1.0]) / 4
    uneven = torch.tensor([[3.0, 0], [-3.0, 0], [0, 1.0], [0, -1.0]])
    expected = math.exp(-float((shares * shares.log()).sum()))
    assert effective_rank(uneven) == pytest.approx(expected)


def test_effective_rank__of_collapsed_features_is_nothing_whatever_the_rounding() -> None:
    collapsed = draw(1, 24).expand(64, -1)
    assert effective_rank(collapsed) == 0.0
    assert effective_rank(collapsed * (1 + 1e-8 * draw(64, 24, seed=2).double())) == 0.0
