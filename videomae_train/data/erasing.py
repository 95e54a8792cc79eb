"""Random erasing: a box of each clip filled with noise.

The box is drawn with the sample's other choices and travels with the batch; the noise is made on the device, after
normalisation, where the published code puts it: bytes could not hold it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from videomae_train.data.transforms import Box, random_sizes

_AREA = (0.02, 1 / 3)
_RATIO = (0.3, 1 / 0.3)
NO_BOX = Box(0, 0, 0, 0)


def sample_erase_box(height: int, width: int, probability: float, rng: np.random.Generator) -> Box:
    """Draw the box that is erased from all frames of a clip (Zhong et al., 1708.04896; timm's variant).

    Its area is uniform in 0.02 .. 1/3 of the picture, its shape (height to width) log-uniform in 0.3 .. 1/0.3, its
    place uniform.

    Args:
        height: Pixels of the clip, after cropping.
        width: Pixels of the clip, after cropping.
        probability: Share of clips that lose a box, in [0, 1].
        rng: The only source of randomness.

    Returns:
        The first of 10 tries that is smaller than the picture; of height and width 0 where nothing is erased.
    """
    if rng.random() >= probability:
        return NO_BOX
    for box_width, box_height in random_sizes(height, width, rng, area=_AREA, ratio=_RATIO):
        if box_width < width and box_height < height:
            top = int(rng.integers(height - box_height + 1))
            left = int(rng.integers(width - box_width + 1))
            return Box(top, left, box_height, box_width)
    return NO_BOX


def erase_boxes(pixels: Tensor, boxes: Tensor) -> Tensor:
    """Fill boxes with N(0, 1) noise from the global generator, another for each pixel, channel and frame.

    Args:
        pixels: Floating (B, T, C, H, W), normalised.
        boxes: int64 (B, 4): top, left, height, width; the same box in all frames of a clip.

    Returns:
        As `pixels`; what lies outside the boxes is unchanged.
    """
    top, left, height, width = boxes.view(-1, 4, 1).unbind(1)
    rows, columns = (torch.arange(side, device=pixels.device) for side in pixels.shape[-2:])
    in_rows = (rows >= top) & (rows < top + height)
    in_columns = (columns >= left) & (columns < left + width)
    inside = in_rows[:, :, None] & in_columns[:, None, :]
    return torch.where(inside[:, None, None], torch.randn_like(pixels), pixels)
