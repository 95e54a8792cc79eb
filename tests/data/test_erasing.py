from __future__ import annotations

import random

import numpy as np
import torch
from timm.data.random_erasing import RandomErasing
from two_samples import assert_same_distribution

from videomae_train.data.erasing import NO_BOX, erase_boxes, sample_erase_box
from videomae_train.data.transforms import Box

SIDE = 112


def drawn_boxes(count: int, probability: float = 0.25) -> list[Box]:
    rng = np.random.default_rng(0)
    return [sample_erase_box(SIDE, SIDE, probability, rng) for _ in range(count)]


def test_sample_erase_box__published_distribution() -> None:
    boxes = drawn_boxes(4000)
    erased = [box for box in boxes if box != NO_BOX]
    assert abs(len(erased) / 4000 - 0.25) < 5 * (0.25 * 0.75 / 4000) ** 0.5
    areas = np.array([box.height * box.width for box in erased]) / SIDE**2
    # Uniform in 0.02 .. 1/3: its quartiles, but for the few large tall boxes that do not fit and are drawn again.
    assert 0.018 < areas.min() < 0.03
    assert 0.31 < areas.max() < 0.34
    np.testing.assert_allclose(np.quantile(areas, [0.25, 0.5, 0.75]), [0.098, 0.177, 0.255], atol=0.02)
    shapes = np.log([box.height / box.width for box in erased])
    limit = np.log(1 / 0.3)
    assert shapes.min() > -limit - 0.1
    assert shapes.max() < limit + 0.1
    np.testing.assert_allclose(np.quantile(shapes, [0.25, 0.5, 0.75]), [-limit / 2, 0, limit / 2], atol=0.12)
    for box in erased:
        assert 0 <= box.top <= SIDE - box.height
        assert 0 <= box.left <= SIDE - box.width
    lefts = np.array([box.left / (SIDE - box.width) for box in erased])
    assert abs(lefts.mean() - 0.5) < 0.04


def test_sample_erase_box__has_timms_distribution() -> None:
    height, width, count = 96, 160, 3000
    eraser = RandomErasing(1.0, min_area=0.02, max_area=1 / 3, mode="const", max_count=1, device="cpu")
    rng = np.random.default_rng(0)
    ours = np.array([sample_erase_box(height, width, 1.0, rng) for _ in range(count)])
    random.seed(0)
    theirs = np.array([box_of(eraser(torch.ones(1, height, width))) for _ in range(count)])
    for number, name in enumerate(("top", "left", "height", "width")):
        assert_same_distribution(ours[:, number], theirs[:, number], name)
    for name, measure in {"area": lambda h, w: h * w, "shape": lambda h, w: h / w}.items():
        assert_same_distribution(*(measure(boxes[:, 2], boxes[:, 3]) for boxes in (ours, theirs)), name)


def box_of(picture: torch.Tensor) -> Box:
    """Where a picture (1, H, W) is black."""
    rows, columns = ((picture[0] == 0).any(dim).nonzero().flatten() for dim in (1, 0))
    return Box(int(rows[0]), int(columns[0]), len(rows), len(columns))


def test_sample_erase_box__never_and_always() -> None:
    assert set(drawn_boxes(50, probability=0.0)) == {NO_BOX}
    assert NO_BOX not in drawn_boxes(50, probability=1.0)


def test_erase_boxes__fills_the_box_alone_with_fresh_noise() -> None:
    pixels = torch.full((3, 4, 3, 40, 48), 7.0)
    boxes = torch.tensor([[5, 10, 30, 20], [0, 0, 0, 0], [0, 0, 40, 1]])
    torch.manual_seed(0)
    erased = erase_boxes(pixels, boxes)
    assert torch.equal(pixels, torch.full_like(pixels, 7.0)), "the argument stays"
    noise = erased[0, :, :, 5:35, 10:30]
    assert (noise != 7).all()
    assert abs(noise.mean()) < 5 / noise.numel() ** 0.5
    assert abs(noise.std() - 1) < 0.03
    for one, two in ((noise[0], noise[1]), (noise[:, 0], noise[:, 1])):
        correlation = torch.corrcoef(torch.stack([one.flatten(), two.flatten()]))[0, 1]
        assert abs(correlation) < 0.1, "another for each frame and channel"
    outside = torch.ones(40, 48, dtype=torch.bool)
    outside[5:35, 10:30] = False
    assert (erased[0][..., outside] == 7).all()
    assert (erased[1] == 7).all()
    assert (erased[2, ..., 0] != 7).all()
    assert (erased[2, ..., 1:] == 7).all()


def test_erase_boxes__is_a_function_of_the_global_generator() -> None:
    pixels, boxes = torch.zeros(1, 2, 3, 8, 8), torch.tensor([[0, 0, 4, 4]])
    torch.manual_seed(3)
    one = erase_boxes(pixels, boxes)
    torch.manual_seed(3)
    assert torch.equal(one, erase_boxes(pixels, boxes))
    assert not torch.equal(one, erase_boxes(pixels, boxes))
