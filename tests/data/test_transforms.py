from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from videomae_train.data.transforms import (
    Box,
    as_clip,
    augment_colours_and_shape,
    crop_and_resize,
    crop_views,
    flip_clip,
    sample_corner_crop,
    sample_crop,
    sample_resized_crop,
)


def noise_clip(num_frames: int = 4, height: int = 60, width: int = 80) -> Tensor:
    return as_clip(np.random.default_rng(0).integers(0, 256, (num_frames, height, width, 3), np.uint8))


def lies_as_decoded(clip: Tensor) -> bool:
    return clip.permute(0, 2, 3, 1).is_contiguous()


def corner_crops(height: int, width: int, size: int) -> set[Box]:
    rng = np.random.default_rng(0)
    return {sample_corner_crop(height, width, size, rng) for _ in range(4000)}


def test_sample_corner_crop__published_sizes_and_places() -> None:
    boxes = corner_crops(256, 340, 224)
    sides = [256, 224, 192, 168]  # 0.66 * 256 = 168.96
    pairs = {(sides[i], sides[j]) for i in range(4) for j in range(4) if abs(i - j) <= 1}
    assert {(box.height, box.width) for box in boxes} == pairs
    room_down, room_right = (256 - 192) // 4, (340 - 192) // 4
    places = {(box.top, box.left) for box in boxes if (box.height, box.width) == (192, 192)}
    quarters = {
        (0, 0),
        (0, 4),
        (4, 0),
        (4, 4),
        (2, 2),
        (2, 0),
        (2, 4),
        (4, 2),
        (0, 2),
        (1, 1),
        (1, 3),
        (3, 1),
        (3, 3),
    }
    assert places == {(down * room_down, right * room_right) for down, right in quarters}


def test_sample_corner_crop__snaps_to_the_target() -> None:
    assert 224 in {box.height for box in corner_crops(258, 300, 224)}  # 0.875 * 258 = 225
    sizes = {box.height for box in corner_crops(222, 300, 224)}
    assert max(sizes) == 222, "no crop is larger than the picture"


@pytest.mark.parametrize(("height", "width"), [(48, 64), (240, 320), (500, 120), (24, 30), (8, 8)])
@pytest.mark.parametrize("kind", ["multi_scale_corner", "random_resized", "centre"])
def test_sample_crop__stays_inside_and_keyed(kind: str, height: int, width: int) -> None:
    for seed in range(300):
        box = sample_crop(kind, height, width, 112, np.random.default_rng(seed))
        assert 0 <= box.top <= box.top + box.height <= height
        assert 0 <= box.left <= box.left + box.width <= width
        assert min(box.height, box.width) > 0
        assert box == sample_crop(kind, height, width, 112, np.random.default_rng(seed))


def test_sample_resized_crop__area_and_shape() -> None:
    rng = np.random.default_rng(0)
    boxes = [sample_resized_crop(240, 320, rng) for _ in range(2000)]
    areas = np.array([box.height * box.width for box in boxes]) / (240 * 320)
    shapes = np.array([box.width / box.height for box in boxes])
    assert 0.07 < areas.min() < 0.1
    assert 0.9 < areas.max() <= 1
    assert 0.73 < shapes.min() < 0.78
    assert 1.30 < shapes.max() < 1.36
    assert abs(np.log(shapes).mean()) < 0.05, "tall and wide are equally likely"


def test_sample_resized_crop__falls_back_to_the_centre() -> None:
    assert sample_resized_crop(10, 1000, np.random.default_rng(0), area=(0.9, 1.0)) == Box(0, 493, 10, 13)


def test_crop_and_resize__matches_pil() -> None:
    clip, box = noise_clip(), Box(5, 7, 50, 40)
    resized = crop_and_resize(clip, box, 32)
    for frame, expected in zip(resized, clip, strict=True):
        image = Image.fromarray(expected.permute(1, 2, 0).numpy())
        image = image.crop((7, 5, 47, 55)).resize((32, 32), Image.Resampling.BILINEAR)
        difference = frame.permute(1, 2, 0).int() - torch.from_numpy(np.array(image)).int()
        assert difference.abs().max() <= 2


def test_results__are_uint8_and_lie_as_decoded() -> None:
    clip = noise_clip()
    assert lies_as_decoded(clip)
    augmented = augment_colours_and_shape(clip, 2, 21, "key")
    for result in (
        crop_and_resize(clip, Box(0, 0, 60, 60), 32),
        crop_and_resize(clip, Box(0, 0, 32, 32), 32),
        crop_and_resize(augmented, Box(0, 0, 60, 60), 32),
        flip_clip(clip),
    ):
        assert result.dtype == torch.uint8
        assert lies_as_decoded(result)


def test_flip_clip__mirrors() -> None:
    clip = noise_clip()
    assert torch.equal(flip_clip(clip)[..., 0], clip[..., -1])


def test_augment__one_draw_per_clip_from_its_key() -> None:
    still = noise_clip(1).expand(6, -1, -1, -1)
    results = [augment_colours_and_shape(still, 2, 21, "key", number) for number in range(12)]
    for number, result in enumerate(results):
        assert all(torch.equal(result[0], frame) for frame in result), "frames that were equal stay equal"
        assert torch.equal(result, augment_colours_and_shape(still, 2, 21, "key", number))
    assert sum(not torch.equal(results[0], result) for result in results) >= 8


def test_augment__leaves_the_global_generators_alone() -> None:
    states = random.getstate(), torch.get_rng_state()
    augment_colours_and_shape(noise_clip(), 4, 21, "key")
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])


def test_augment__off() -> None:
    clip = noise_clip()
    assert augment_colours_and_shape(clip, 0, 21, "key") is clip


@pytest.mark.parametrize("upright", [False, True])
def test_crop_views__spread_along_the_longer_side(upright: bool) -> None:
    ramp = np.broadcast_to(np.arange(80, dtype=np.uint8)[None, None, :, None], (2, 40, 80, 3)).copy()
    clip = as_clip(ramp.swapaxes(1, 2).copy() if upright else ramp)
    views = crop_views(clip, 40, 3)
    assert views.shape == (3, 2, 3, 40, 40)
    assert views[:, 0, 0, 0, 0].tolist() == [0, 20, 40]
    assert torch.equal(crop_views(clip, 40, 1)[0], views[1])


def test_crop_views__resizes_the_short_side() -> None:
    assert crop_views(noise_clip(2, 60, 80), 30, 3).shape == (3, 2, 3, 30, 30)
    assert crop_views(noise_clip(2, 31, 31), 64, 2).shape == (2, 2, 3, 64, 64)
