from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms import RandomResizedCrop
from two_samples import assert_same_distribution

from videomae_train.data.transforms import (
    Box,
    as_clip,
    crop_and_resize,
    crop_views,
    flip_clip,
    sample_corner_crop,
    sample_crop,
    sample_resized_crop,
)

# What tells boxes (n, 4) of top, left, height and width apart.
BOX_MEASURES = {
    "area": lambda box, height, width: box[:, 2] * box[:, 3] / (height * width),
    "shape": lambda box, height, width: box[:, 3] / box[:, 2],
    "down": lambda box, height, width: box[:, 0] / np.maximum(height - box[:, 2], 1),
    "right": lambda box, height, width: box[:, 1] / np.maximum(width - box[:, 3], 1),
}


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


@pytest.mark.parametrize(("height", "width"), [(240, 320), (120, 400)])
def test_sample_resized_crop__has_torchvisions_distribution(height: int, width: int) -> None:
    # A picture that is long enough for boxes that do not fit, and for the way out after ten tries.
    rng, picture, count = np.random.default_rng(0), torch.empty(3, height, width), 6000
    torch.manual_seed(0)
    ours = np.array([sample_resized_crop(height, width, rng) for _ in range(count)])
    theirs = np.array(
        [RandomResizedCrop.get_params(picture, (0.08, 1.0), (0.75, 4 / 3)) for _ in range(count)]
    )
    for measure in BOX_MEASURES:
        assert_same_distribution(
            *(BOX_MEASURES[measure](boxes, height, width) for boxes in (ours, theirs)), measure
        )


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


@pytest.mark.parametrize("size", [4, 56, 100])
def test_crop_and_resize__published_fine_tuning_crop_is_of_normalised_floats(size: int) -> None:
    clip, mean, std = noise_clip(), torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.1, 0.2, 0.3])
    # As published: normalise, cut, interpolate without antialiasing; 12 rows of the picture become one of the result,
    # or one becomes two.
    normalised = (clip.double() / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    cut = normalised[..., 4:52, 6:70]
    expected = interpolate(cut, size=(size, size), mode="bilinear", align_corners=False)
    ours = crop_and_resize(clip, Box(4, 6, 48, 64), size, "float_no_antialias")
    assert (ours.dtype, ours.shape) == (torch.float32, (4, 3, size, size))
    torch.testing.assert_close(
        (ours.double() / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1), expected, atol=1e-4, rtol=0
    )


def test_crop_and_resize__antialiasing_is_another_crop() -> None:
    clip = noise_clip()
    ours = crop_and_resize(clip, Box(4, 6, 48, 64), 4, "float_no_antialias")
    smooth = crop_and_resize(clip, Box(4, 6, 48, 64), 4).double()
    assert (smooth - ours).abs().mean() > 10, "antialiasing would have averaged the noise away"
    assert lies_as_decoded(ours)


def test_results__are_uint8_and_lie_as_decoded() -> None:
    clip = noise_clip()
    assert lies_as_decoded(clip)
    for result in (
        crop_and_resize(clip, Box(0, 0, 60, 60), 32),
        crop_and_resize(clip, Box(0, 0, 32, 32), 32),
        flip_clip(clip),
    ):
        assert result.dtype == torch.uint8
        assert lies_as_decoded(result)


def test_flip_clip__mirrors() -> None:
    clip = noise_clip()
    assert torch.equal(flip_clip(clip)[..., 0], clip[..., -1])


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


def test_crop_views__without_antialias_as_published() -> None:
    clip = noise_clip(2, 60, 60)
    plain = crop_views(clip, 20, 1, antialias=False)[0]
    # A third of the size: each pixel of the result lies on the middle one of three.
    assert torch.equal(plain, clip[..., 1::3, 1::3])
    assert not torch.equal(crop_views(clip, 20, 1)[0], plain)
