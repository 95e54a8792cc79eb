from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from videomae_train.data.device_crops import crop_batch, join_frames
from videomae_train.data.transforms import Box, as_clip, crop_and_resize, flip_clip
from videomae_train.types import Crops

# Enlarged, shrunk, both at once, whole, one pixel wide, at every edge.
BOXES = [
    Box(0, 0, 60, 80),
    Box(3, 5, 20, 20),
    Box(0, 50, 60, 30),
    Box(59, 79, 1, 1),
    Box(10, 0, 7, 64),
    Box(0, 0, 32, 32),
]


def frames(seed: int, height: int = 60, width: int = 80) -> Tensor:
    """Two frames of noise over a ramp, uint8 (2, H, W, 3)."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, width)[None, None, :, None]
    noise = rng.integers(0, 56, (2, height, width, 3))
    return torch.from_numpy((ramp + noise).astype(np.uint8))


def crops_of(boxes: list[Box], flips: list[bool]) -> Crops:
    return Crops(torch.tensor(boxes), torch.tensor(flips))


def one_by_one(clip: Tensor, box: Box, flip: bool, size: int, resampling: str) -> Tensor:
    cut = crop_and_resize(as_clip(clip.numpy()), box, size, resampling)
    return flip_clip(cut) if flip else cut


@pytest.mark.parametrize("size", [16, 32, 70])
def test_crop_batch__is_bit_for_bit_what_the_cpu_makes(size: int) -> None:
    clips = [frames(seed) for seed in range(len(BOXES))]
    flips = [number % 2 == 0 for number in range(len(BOXES))]
    batch = join_frames([clip[None] for clip in clips]).permute(0, 1, 4, 2, 3)
    result = crop_batch(batch, crops_of(BOXES, flips), size, "uint8_antialias")
    assert (result.dtype, result.shape) == (torch.uint8, (len(BOXES), 2, 3, size, size))
    assert result.permute(0, 1, 3, 4, 2).is_contiguous()
    for ours, clip, box, flip in zip(result, clips, BOXES, flips, strict=True):
        assert torch.equal(ours, one_by_one(clip, box, flip, size, "uint8_antialias"))


@pytest.mark.parametrize("size", [16, 70])
def test_crop_batch__without_antialias_is_the_published_crop(size: int) -> None:
    clips = [frames(seed) for seed in range(len(BOXES))]
    flips = [number % 2 == 1 for number in range(len(BOXES))]
    batch = join_frames([clip[None] for clip in clips]).permute(0, 1, 4, 2, 3)
    result = crop_batch(batch, crops_of(BOXES, flips), size, "float_no_antialias")
    assert result.dtype == torch.float32
    for ours, clip, box, flip in zip(result, clips, BOXES, flips, strict=True):
        torch.testing.assert_close(
            ours, one_by_one(clip, box, flip, size, "float_no_antialias"), atol=1e-3, rtol=0
        )


def test_crop_batch__sizes_may_differ_and_padding_is_never_seen() -> None:
    clips = [frames(0, 60, 80), frames(1, 90, 50), frames(2, 40, 40)]
    boxes = [Box(0, 0, 60, 80), Box(10, 10, 80, 40), Box(0, 0, 40, 40)]
    batch = join_frames([clip[None] for clip in clips])
    assert batch.shape == (3, 2, 90, 80, 3)
    crops = crops_of(boxes, [False] * 3)
    result = crop_batch(batch.permute(0, 1, 4, 2, 3), crops, 32, "uint8_antialias")
    for ours, clip, box in zip(result, clips, boxes, strict=True):
        assert torch.equal(ours, one_by_one(clip, box, False, 32, "uint8_antialias"))
    spoilt = batch.clone()
    for number, clip in enumerate(clips):
        spoilt[number, :, clip.shape[1] :], spoilt[number, :, :, clip.shape[2] :] = 255, 255
    assert torch.equal(crop_batch(spoilt.permute(0, 1, 4, 2, 3), crops, 32, "uint8_antialias"), result)


def test_crop_batch__shrunk_more_than_fourfold_is_within_one_level() -> None:
    clip, box = frames(0, 300, 280), Box(0, 3, 300, 270)
    batch = clip[None].permute(0, 1, 4, 2, 3)
    ours = crop_batch(batch, crops_of([box], [False]), 32, "uint8_antialias")[0]
    difference = (ours.int() - one_by_one(clip, box, False, 32, "uint8_antialias").int()).abs()
    assert difference.max() <= 1
    assert difference.float().mean() < 0.01


def test_crop_batch__several_clips_of_the_same_frames() -> None:
    batch = join_frames([frames(0)[None], frames(1)[None]]).permute(0, 1, 4, 2, 3)
    boxes = [Box(0, 0, 20, 20), Box(20, 30, 25, 20), Box(1, 1, 50, 50), Box(5, 0, 9, 9)]
    result = crop_batch(batch, crops_of(boxes, [True, False, True, False]), 16, "uint8_antialias")
    apart = crop_batch(
        batch[[0, 0, 1, 1]], crops_of(boxes, [True, False, True, False]), 16, "uint8_antialias"
    )
    assert torch.equal(result, apart)


def test_crop_batch__lower_precision_of_the_run_does_not_coarsen_it(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = join_frames([frames(0)[None]]).permute(0, 1, 4, 2, 3)
    crops = crops_of([Box(0, 0, 60, 80)], [False])
    alone = crop_batch(batch, crops, 32, "uint8_antialias")
    precisions: list[str] = []
    product = torch.baddbmm

    def watched(*matrices: Tensor) -> Tensor:
        precisions.append(torch.get_float32_matmul_precision())
        return product(*matrices)

    monkeypatch.setattr(torch, "baddbmm", watched)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(crop_batch(batch, crops, 32, "uint8_antialias"), alone)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert precisions == ["highest"] * 2
