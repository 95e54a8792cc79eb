"""The shape of the `masking` group, and the samplers that its names stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from videomae_train.config.fields import Frozen, OpenShare
from videomae_train.config.named import load_named
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


@dataclass(frozen=True)
class OwnMask:
    """A sampler of the user's, each of whose masks is looked at: workers stack them, and an error there names nothing.

    Attributes:
        sampler: A `MaskSampler`.
        name: As the configuration has it.
    """

    sampler: MaskSampler
    name: str

    def __call__(self, grid: PatchGrid, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Draw one mask: bool (N,), True = hidden.

        Raises:
            ConfigError: It is of another type or shape, or hides another number than the sampler says.
        """
        mask, hidden = np.asarray(self.sampler(grid, rng)), self.num_hidden(grid)
        if mask.dtype != np.bool_ or mask.shape != (grid.num_tokens,) or mask.sum() != hidden:
            raise ConfigError(
                where=self.name, came=f"a mask of {mask.dtype} {mask.shape} that hides {mask.sum()}",
                expected=f"bool ({grid.num_tokens},) with {hidden} True, as its num_hidden says of every mask",
                todo="Correct the class.",
            )  # fmt: skip
        return mask

    def num_hidden(self, grid: PatchGrid) -> int:
        """Count the hidden tokens of every mask of this grid.

        Raises:
            ConfigError: None or all of them.
        """
        hidden = self.sampler.num_hidden(grid)
        if not 0 < hidden < grid.num_tokens:
            raise ConfigError(
                where=self.name, came=f"{hidden} of {grid.num_tokens} tokens hidden",
                expected="at least one hidden and one visible", todo="Correct the ratio, or num_hidden of the class.",
            )  # fmt: skip
        return hidden


class MaskingConfig(Frozen):
    """Which tokens are hidden, and which of those are reconstructed; a name with a colon is a class of the user's."""

    name: Literal["tube", "random", "frame"] | Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    ratio: OpenShare
    decode: Annotated[
        DecodeAllConfig | DecodeRunningCellsConfig | DecodeShareConfig, Field(discriminator="name")
    ]

    def build(self) -> MaskSampler:
        """Make the sampler of encoder masks.

        Raises:
            ConfigError: There is no class of that name.
        """
        if ":" in self.name:
            return OwnMask(load_named("masking.name", self.name)(self.ratio), self.name)
        return {"tube": TubeMask, "random": RandomMask, "frame": FrameMask}[self.name](self.ratio)

    def counts(self, grid: PatchGrid) -> tuple[int, int]:
        """Count the hidden tokens of every clip, and those of them that are reconstructed.

        Raises:
            ConfigError: Masks of this grid would hide nothing or everything, or cannot be decoded so.
        """
        if self.name not in ("tube", "frame") and self.decode.name == "running_cell":
            raise ConfigError(
                where="masking/decode",
                came=f"running cells with {self.name} masks, which leave another number of tokens in each clip",
                expected="running cells with tube or frame masks",
                todo="Choose masking/decode=share.",
            )
        hidden = self.build().num_hidden(grid)
        return hidden, self.decode.build().num_decoded(hidden, grid)

    def example(self, grid: PatchGrid) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Draw one clip's visible, scored and unscored tokens; all clips have as many of each.

        Raises:
            ConfigError: As `counts`.
        """
        self.counts(grid)
        rng = np.random.default_rng(0)
        mask = self.build()(grid, rng)
        decoded = self.decode.build()(mask, grid, rng)
        return np.flatnonzero(~mask), decoded[mask[decoded]], decoded[~mask[decoded]]

    def summary(self, grid: PatchGrid) -> str:
        """Say in words what masks of this grid come to; raises as `counts`."""
        hidden, decoded = self.counts(grid)
        part = "all" if decoded == hidden else f"{decoded}"
        share = f"{hidden} of {grid.num_tokens} tokens hidden, {hidden / grid.num_tokens:.4f}"
        return f"{self.name} mask, ratio {self.ratio}: {share}; {part} of these reconstructed"
