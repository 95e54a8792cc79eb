"""The fixed position table: one sine-cosine curve over the flattened token number."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from videomae_train.types import PatchGrid


def sincos_table(num_positions: int, width: int) -> Tensor:
    """Tabulate sin and cos of the flattened token number, interleaved over the width.

    Even columns j hold sin(pos / 10000**(j / width)), the odd column after each holds the cosine of the same
    angle. One-dimensional over t*h*w, as published, rather than separable in time, height and width.

    Returns:
        float32 (num_positions, width), computed in float64.

    >>> [round(value, 5) for value in sincos_table(2, 768)[1, :2].tolist()]
    [0.84147, 0.5403]
    """
    positions = torch.arange(num_positions, dtype=torch.float64, device="cpu").unsqueeze(1)
    columns = torch.arange(width, dtype=torch.float64, device="cpu")
    angles = positions / 10000.0 ** (2.0 * (columns // 2) / width)
    table = torch.where(columns % 2 == 0, angles.sin(), angles.cos())
    return table.float()


def position_table(grid: PatchGrid, trained_grid: PatchGrid, width: int) -> Tensor:
    """Give each token of a grid its position vector, in the meaning that training gave to positions.

    For the trained grid this is exactly `sincos_table`. For another grid the trained table is resampled linearly on its
    (t, h, w) grid, patch centre on patch centre, so that the middle of a clip stays the middle: recomputing the
    one-dimensional table for another N would give every token the position of a different place.

    Returns:
        float32 (N, width), N of `grid`.
    """
    table = sincos_table(trained_grid.num_tokens, width)
    if grid == trained_grid:
        return table
    volume = table.double().T.reshape(1, width, *trained_grid)
    resampled = F.interpolate(volume, size=tuple(grid), mode="trilinear", align_corners=False)
    return resampled.reshape(width, grid.num_tokens).T.float().contiguous()
