"""Which tokens a decoder predicts: all hidden ones, running cells, or a random share of the hidden ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from videomae_train.errors import ConfigError
from videomae_train.masking.indices import keep_share, split_mask
from videomae_train.masking.patterns import num_hidden_of
from videomae_train.masking.running_cell import cell_places_left_out, check_cells, sample_running_cell_mask
from videomae_train.types import PatchGrid


class DecodeSampler(Protocol):
    """Chooses the tokens that the decoder predicts; equally many hidden ones, and equally many visible ones, for all
    masks that hide equally many. Hidden ones are reconstructed and scored, visible ones only keep them company.
    """

    def __call__(
        self, mask: NDArray[np.bool_], grid: PatchGrid, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Choose from an encoder mask (N,), True = hidden: ascending token numbers."""
        ...

    def num_decoded(self, num_hidden: int, grid: PatchGrid) -> int:
        """Count the hidden tokens among those chosen; a ConfigError where the grid does not suit."""
        ...


@dataclass(frozen=True)
class DecodeAll:
    """Reconstructs every hidden token (VideoMAE)."""

    def __call__(
        self, mask: NDArray[np.bool_], grid: PatchGrid, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Give all hidden tokens; draws nothing."""
        return split_mask(mask)[1]

    def num_decoded(self, num_hidden: int, grid: PatchGrid) -> int:
        """Count them: all."""
        return num_hidden


@dataclass(frozen=True)
class DecodeRunningCells:
    """Predicts every token that a running-cell pattern leaves in, hidden or not (VideoMAE V2, section 3.2).

    V2's decoder mask does not look at the encoder's: what happens to be visible is decoded too, and only left out of
    the loss. The pattern visits every position equally often over the slots, so tube and frame masks keep constant
    numbers; random masks do not, and are refused at the first draw.

    Attributes:
        ratio: Share to leave out: 0.25, 0.5 or 0.75.
    """

    ratio: float

    def __call__(
        self, mask: NDArray[np.bool_], grid: PatchGrid, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Choose from an encoder mask (N,), True = hidden: ascending token numbers."""
        left_in = ~sample_running_cell_mask(grid, self.ratio, rng)
        promised, hidden = self.num_decoded(int(mask.sum()), grid), int((mask & left_in).sum())
        if hidden != promised:
            raise ConfigError(
                where="masking.decode",
                came=f"{hidden} tokens to reconstruct",
                expected=f"{promised}, as for every other clip",
                todo="Use running cells with tube or frame masks; with random masks decode a share.",
            )
        return np.flatnonzero(left_in).astype(np.int64)

    def num_decoded(self, num_hidden: int, grid: PatchGrid) -> int:
        """Count the hidden tokens among those chosen."""
        check_cells(grid)
        return num_hidden * (4 - cell_places_left_out(self.ratio)) // 4


@dataclass(frozen=True)
class DecodeShare:
    """Reconstructs a random share of the hidden tokens (CrossMAE, section 3.2).

    Attributes:
        share: In (0, 1).
    """

    share: float

    def __call__(
        self, mask: NDArray[np.bool_], grid: PatchGrid, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Choose from an encoder mask (N,), True = hidden: ascending token numbers."""
        return keep_share(split_mask(mask)[1], self.share, rng)

    def num_decoded(self, num_hidden: int, grid: PatchGrid) -> int:
        """Count the tokens chosen of so many hidden ones."""
        return num_hidden_of(num_hidden, self.share, of_what="hidden tokens", where="masking.decode.share")
