"""Mixup, cutmix and erasing as the classifier sees them, against the published distributions."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from videomae_train.data.erasing import erase_boxes
from videomae_train.model import VideoMAEConfig, VideoMAEForVideoClassification, normalise_clips
from videomae_train.randomness import seed_global_generators
from videomae_train.training import tasks
from videomae_train.training.options import MixOptions
from videomae_train.training.tasks import ClassificationTask
from videomae_train.types import LabeledBatch

CONFIG = VideoMAEConfig(
    image_size=32, patch_size=8, num_frames=2, hidden_size=24, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=48,
)  # fmt: skip
LABELS, NUM_CLASSES = torch.tensor([0, 1, 2, 4]), 5
PUBLISHED = MixOptions(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1)


class Watched(nn.Module):
    """Stands for the classifier and keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = VideoMAEForVideoClassification(CONFIG).encoder
        self.shown: list[Tensor] = []

    def forward(self, pixels: Tensor) -> SimpleNamespace:
        self.shown.append(pixels.clone())
        return SimpleNamespace(logits=torch.zeros(len(pixels), NUM_CLASSES))


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The soft labels that reach the loss."""
    seen: list[Tensor] = []

    class Loss:
        def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
            seen.append(target)
            return logits.sum()

    monkeypatch.setattr(tasks, "SoftTargetCrossEntropy", Loss)
    return seen


def batch(**fields: Any) -> LabeledBatch:
    """Four clips, each of one grey level, so that a mixed pixel tells its parts."""
    levels = torch.tensor([0, 40, 120, 255], dtype=torch.uint8)
    clips = levels.view(4, 1, 1, 1, 1).expand(4, 2, 3, 32, 32).contiguous()
    return LabeledBatch(clips, LABELS, torch.arange(4), (), **fields)


def draws(options: MixOptions, count: int, targets: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Pixels (4, 2, 3, 32, 32) and soft labels (4, 5) of many seeded micro-batches."""
    task = ClassificationTask(Watched(), options, NUM_CLASSES)  # type: ignore[arg-type]
    for number in range(count):
        seed_global_generators(0, number)
        task.loss(batch())
        yield task.model.shown.pop(), targets.pop()  # type: ignore[attr-defined]


def soft_labels(share: float) -> Tensor:
    """The labels' share of themselves and the rest from the batch reversed, smoothed by 0.1."""
    smooth = torch.full((4, NUM_CLASSES), 0.1 / NUM_CLASSES)
    smooth[torch.arange(4), LABELS] = 1 - 0.1 + 0.1 / NUM_CLASSES
    return smooth * share + smooth.flip(0) * (1 - share)


def test_mixup__blends_with_the_reversed_batch(targets: list[Tensor]) -> None:
    own, shares = normalise_clips(batch().clips), list[float]()
    for pixels, target in draws(MixOptions(0.8, 0.0, 0.1), 800, targets):
        share = float((pixels[0, 0, 0, 0, 0] - own[3, 0, 0, 0, 0]) / (own[0] - own[3])[0, 0, 0, 0])
        torch.testing.assert_close(pixels, own * share + own.flip(0) * (1 - share), atol=1e-4, rtol=0)
        torch.testing.assert_close(target, soft_labels(share), atol=1e-4, rtol=0)
        shares.append(share)
    # Beta(0.8, 0.8): mean 1/2, variance 1 / (4 * 2.6), even, and heavier at the ends than uniform.
    assert abs(np.mean(shares) - 0.5) < 0.04
    assert abs(np.var(shares) - 1 / (4 * 2.6)) < 0.01
    reference = np.random.default_rng(0).beta(0.8, 0.8, 200_000)
    quantiles = [0.05, 0.25, 0.5, 0.75, 0.95]
    np.testing.assert_allclose(np.quantile(shares, quantiles), np.quantile(reference, quantiles), atol=0.05)


def test_cutmix__pastes_one_box_of_the_reversed_batch_into_all_frames(targets: list[Tensor]) -> None:
    own, sides = normalise_clips(batch().clips), list[tuple[int, int]]()
    centres, touches = list[float](), 0
    for pixels, target in draws(MixOptions(0.0, 1.0, 0.1), 800, targets):
        pasted = pixels != own
        inside = pasted[0, 0, 0]
        assert (pasted == inside).all(), "the same box in every clip, frame and channel"
        torch.testing.assert_close(pixels, torch.where(inside, own.flip(0), own))
        torch.testing.assert_close(target, soft_labels(1 - float(inside.float().mean())), atol=1e-5, rtol=0)
        rows, columns = inside.any(1).nonzero().flatten(), inside.any(0).nonzero().flatten()
        assert int(inside.sum()) == len(rows) * len(columns), "a box"
        if len(rows) > 0:
            touches += bool(rows[0] == 0 or rows[-1] == 31 or columns[0] == 0 or columns[-1] == 31)
            if rows[0] > 0 and rows[-1] < 31 and columns[0] > 0 and columns[-1] < 31:
                sides.append((len(rows), len(columns)))
                centres.append(float(rows.float().mean()))
    assert all(height == width for height, width in sides), "sides of sqrt(1 - lambda) of each side"
    assert touches > 250, "centres anywhere, cut off at the border"
    assert abs(np.mean(centres) - 15.5) < 1.0


def test_cutmix__box_has_the_published_size(targets: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    # Centre fixed: the box is never cut off at the border, and its area tells lambda.
    monkeypatch.setattr(np.random, "randint", lambda low, high, size=None: 16)
    own, areas = normalise_clips(batch().clips), list[float]()
    for pixels, _ in draws(MixOptions(0.0, 1.0, 0.1), 800, targets):
        areas.append(float((pixels != own)[0, 0, 0].float().mean()))
    # 1 - lambda with lambda ~ Beta(1, 1) is uniform; whole pixels are rounded down, by at most 2 in 32.
    np.testing.assert_allclose(
        np.quantile(areas, [0.1, 0.25, 0.5, 0.75, 0.9]), [0.1, 0.25, 0.5, 0.75, 0.9], atol=0.07
    )


def test_both__take_turns_at_even_odds(targets: list[Tensor]) -> None:
    own, boxes, count = normalise_clips(batch().clips), 0, 600
    for pixels, _ in draws(PUBLISHED, count, targets):
        # Cutmix leaves every pixel as it is in one of the two clips.
        boxes += bool(((pixels == own) | (pixels == own.flip(0))).all())
    assert abs(boxes / count - 0.5) < 5 * 0.5 / count**0.5


def recount(seed: int) -> tuple[Tensor, Tensor]:
    """Mixup and cutmix by their formulas, from the same generator."""
    own = normalise_clips(batch().clips)
    seed_global_generators(0, seed)
    assert np.random.rand() < 1.0, "each batch is mixed"
    if np.random.rand() >= 0.5:
        share = np.random.beta(0.8, 0.8)
        return own * share + own.flip(0) * (1 - share), soft_labels(share)
    share = np.random.beta(1.0, 1.0)
    side = int(32 * np.sqrt(1 - share))
    down, right = np.random.randint(0, 32), np.random.randint(0, 32)
    # An odd side keeps its last pixel; timm of the publication's time dropped it.
    top, bottom = max(down - side // 2, 0), min(down + (side + 1) // 2, 32)
    left, end = max(right - side // 2, 0), min(right + (side + 1) // 2, 32)
    mixed = own.clone()
    mixed[..., top:bottom, left:end] = own.flip(0)[..., top:bottom, left:end]
    return mixed, soft_labels(1 - (bottom - top) * (end - left) / 32**2)


def test_both__are_the_published_formulas_drawn_from_the_same_generator(targets: list[Tensor]) -> None:
    for seed, (pixels, target) in enumerate(draws(PUBLISHED, 24, targets)):
        mixed, labels = recount(seed)
        torch.testing.assert_close(pixels, mixed, rtol=0, atol=1e-6)
        torch.testing.assert_close(target, labels, rtol=0, atol=1e-6)


def test_mixing__is_a_function_of_the_seed(targets: list[Tensor]) -> None:
    one, two = (list(draws(PUBLISHED, 8, targets)) for _ in range(2))
    for (pixels, target), (again, target_again) in zip(one, two, strict=True):
        assert torch.equal(pixels, again)
        assert torch.equal(target, target_again)
    assert not torch.equal(one[0][0], one[1][0])


def test_erasing__comes_after_normalising_and_before_mixing(targets: list[Tensor]) -> None:
    boxes = torch.tensor([[2, 3, 10, 12], [0, 0, 0, 0], [0, 0, 5, 5], [0, 0, 0, 0]])
    task = ClassificationTask(Watched(), MixOptions(0.8, 0.0, 0.1), NUM_CLASSES)  # type: ignore[arg-type]
    seed_global_generators(3)
    task.loss(batch(erase_boxes=boxes))
    seed_global_generators(3)
    own = erase_boxes(normalise_clips(batch().clips), boxes)
    outside = own[0, 0, 0, 31, 31] - own[3, 0, 0, 31, 31]
    (pixels,) = task.model.shown  # type: ignore[attr-defined]
    share = float((pixels[0, 0, 0, 31, 31] - own[3, 0, 0, 31, 31]) / outside)
    torch.testing.assert_close(pixels, own * share + own.flip(0) * (1 - share), atol=1e-4, rtol=0)


def test_erasing__without_mixing_and_clips_in_floats() -> None:
    model = Watched()
    task = ClassificationTask(model, MixOptions(0.0, 0.0, 0.1), NUM_CLASSES)  # type: ignore[arg-type]
    boxes = torch.tensor([[2, 3, 10, 12], [0, 0, 0, 0], [0, 0, 5, 5], [0, 0, 0, 0]])
    seed_global_generators(3)
    task.loss(batch(erase_boxes=boxes))
    seed_global_generators(3)
    given = batch(erase_boxes=boxes)
    task.loss(given._replace(clips=given.clips.float()))
    assert torch.equal(model.shown[0], model.shown[1]), "floats of 0..255 are normalised once, like bytes"
    assert torch.equal(model.shown[0][1], normalise_clips(given.clips)[1])
    assert not torch.equal(model.shown[0][0], normalise_clips(given.clips)[0])
