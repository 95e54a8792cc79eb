"""What the decoder learns to predict for a hidden patch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Target(Protocol):
    """Makes the truth for hidden patches; pixels here, but it may be any function of them."""

    @property
    def num_values(self) -> int:
        """Values per token that the decoder's head must give."""
        ...

    def __call__(self, patches: Tensor) -> Tensor:
        """Turn pixels in [0, 1], floating (B, M, P), into targets (B, M, num_values) of the same dtype."""
        ...


@dataclass(frozen=True)
class PixelTarget:
    """The patch's own pixels, raw or normalised per patch and channel (VideoMAE, section 4.1).

    Attributes:
        num_values: P, values of a patch over all channels.
        num_channels: C.
        normalise: Subtract each patch's mean and divide by its standard deviation (unbiased, plus 1e-6), per
            channel.
    """

    num_values: int
    num_channels: int
    normalise: bool

    def __call__(self, patches: Tensor) -> Tensor:
        """Turn pixels in [0, 1], floating (B, M, P), into targets of the same shape and dtype."""
        return normalise_patches(patches, self.num_channels) if self.normalise else patches


def normalise_patches(patches: Tensor, num_channels: int) -> Tensor:
    """Give each patch mean 0 and standard deviation 1 per channel: (B, M, P) to (B, M, P)."""
    values = patches.unflatten(-1, (-1, num_channels))
    variance, mean = torch.var_mean(values, dim=-2, correction=1, keepdim=True)
    return ((values - mean) / (variance.sqrt() + 1e-6)).flatten(-2)
