"""The shape of the `masking` group, and the samplers that its names stand for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from videomae_train.config.fields import Frozen, OpenShare
from videomae_train.errors import ConfigError
from videomae_train.masking import (
    DecodeAll,
    DecodeRunningCells,
    DecodeSampler,
    DecodeShare,
    FrameMask,
    MaskSampler,
    RandomMask,
    TubeMask,
)
from videomae_train.types import PatchGrid


class DecodeAllConfig(Frozen):
    """Reconstruct every hidden token."""

    name: Literal["all"]

    def build(self) -> DecodeSampler:
        """Make the sampler."""
        return DecodeAll()


class DecodeRunningCellsConfig(Frozen):
    """Reconstruct the hidden tokens that a running-cell pattern leaves in; ratio is the share left out."""

    name: Literal["running_cell"]
    ratio: OpenShare

    def build(self) -> DecodeSampler:
        """Make the sampler."""
        return DecodeRunningCells(self.ratio)


class DecodeShareConfig(Frozen):
    """Reconstruct a random share of the hidden tokens."""

    name: Literal["share"]
    share: OpenShare

    def build(self) -> DecodeSampler:
        """Make the sampler."""
        return DecodeShare(self.share)


class MaskingConfig(Frozen):
    """Which tokens are hidden, and which of those are reconstructed."""

    name: Literal["tube", "random", "frame"]
    ratio: OpenShare
    decode: Annotated[
        DecodeAllConfig | DecodeRunningCellsConfig | DecodeShareConfig, Field(discriminator="name")
    ]

    def build(self) -> MaskSampler:
        """Make the sampler of encoder masks."""
        return {"tube": TubeMask, "random": RandomMask, "frame": FrameMask}[self.name](self.ratio)

    def counts(self, grid: PatchGrid) -> tuple[int, int]:
        """Count the hidden tokens of every clip, and those of them that are reconstructed.

        Raises:
            ConfigError: Masks of this grid would hide nothing or everything, or cannot be decoded so.
        """
        if self.name == "random" and self.decode.name == "running_cell":
            raise ConfigError(
                where="masking/decode",
                came="running cells with random masks, which leave another number of tokens in each clip",
                expected="running cells with tube or frame masks",
                todo="Choose masking/decode=share with random masks.",
            )
        hidden = self.build().num_hidden(grid)
        return hidden, self.decode.build().num_decoded(hidden, grid)

    def summary(self, grid: PatchGrid) -> str:
        """Say in words what masks of this grid come to; raises as `counts`."""
        hidden, decoded = self.counts(grid)
        part = "all" if decoded == hidden else f"{decoded}"
        share = f"{hidden} of {grid.num_tokens} tokens hidden, {hidden / grid.num_tokens:.4f}"
        return f"{self.name} mask, ratio {self.ratio}: {share}; {part} of these reconstructed"
