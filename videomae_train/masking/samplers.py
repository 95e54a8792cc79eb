"""Mask samplers: a pattern with its ratio, ready to be asked for one clip's mask after another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from videomae_train.masking.patterns import (
    num_hidden_of,
    sample_frame_mask,
    sample_random_mask,
    sample_tube_mask,
)
from videomae_train.types import PatchGrid


class MaskSampler(Protocol):
    """Draws the encoder mask of one clip; every clip of a grid gets the same number of hidden tokens."""

    def __call__(self, grid: PatchGrid, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Draw one mask: bool (N,), True = hidden."""
        ...

    def num_hidden(self, grid: PatchGrid) -> int:
        """Count the hidden tokens M that every mask of this grid has."""
        ...


@dataclass(frozen=True)
class TubeMask:
    """Hides the same floor(ratio * h * w) image patches in every time slot.

    Attributes:
        ratio: Share of the image plane, in (0, 1).

    >>> TubeMask(0.9).num_hidden(PatchGrid(t=8, h=14, w=14))
    1408
    """

    ratio: float

    def __call__(self, grid: PatchGrid, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Draw one mask: bool (N,), True = hidden."""
        return sample_tube_mask(grid, self.ratio, rng)

    def num_hidden(self, grid: PatchGrid) -> int:
        """Count the hidden tokens of every mask of this grid."""
        return grid.t * num_hidden_of(grid.h * grid.w, self.ratio, of_what="patches of the image plane")

    def effective_ratio(self, grid: PatchGrid) -> float:
        """Tell the share that is really hidden."""
        return self.num_hidden(grid) / grid.num_tokens


@dataclass(frozen=True)
class RandomMask:
    """Hides floor(ratio * N) tokens anywhere in the clip.

    Attributes:
        ratio: Share of all tokens, in (0, 1).

    >>> RandomMask(0.9).num_hidden(PatchGrid(t=8, h=14, w=14))
    1411
    """

    ratio: float

    def __call__(self, grid: PatchGrid, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Draw one mask: bool (N,), True = hidden."""
        return sample_random_mask(grid, self.ratio, rng)

    def num_hidden(self, grid: PatchGrid) -> int:
        """Count the hidden tokens of every mask of this grid."""
        return num_hidden_of(grid.num_tokens, self.ratio, of_what="tokens")

    def effective_ratio(self, grid: PatchGrid) -> float:
        """Tell the share that is really hidden."""
        return self.num_hidden(grid) / grid.num_tokens


@dataclass(frozen=True)
class FrameMask:
    """Hides floor(ratio * t) whole time slots.

    Attributes:
        ratio: Share of the time slots, in (0, 1).

    >>> FrameMask(0.9).effective_ratio(PatchGrid(t=8, h=14, w=14))
    0.875
    """

    ratio: float

    def __call__(self, grid: PatchGrid, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Draw one mask: bool (N,), True = hidden."""
        return sample_frame_mask(grid, self.ratio, rng)

    def num_hidden(self, grid: PatchGrid) -> int:
        """Count the hidden tokens of every mask of this grid."""
        return grid.h * grid.w * num_hidden_of(grid.t, self.ratio, of_what="time slots")

    def effective_ratio(self, grid: PatchGrid) -> float:
        """Tell the share that is really hidden."""
        return self.num_hidden(grid) / grid.num_tokens
