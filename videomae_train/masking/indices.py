"""From a mask to the token numbers that the model gathers by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from videomae_train.errors import ConfigError
from videomae_train.masking.patterns import choose, num_hidden_of


def split_mask(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """List the visible and the hidden tokens of one clip.

    Args:
        mask: Bool (N,), True = hidden.

    Returns:
        visible_idx int64 (V,) and hidden_idx int64 (M,), each ascending; V + M = N.

    Raises:
        ConfigError: The mask is not boolean, not one row, or leaves one of the two sides empty. Integer masks
            are refused because their polarity and their inverse (~1 is -2) would be a guess.

    >>> visible, hidden = split_mask(np.array([True, False, True]))
    >>> visible.tolist(), hidden.tolist()
    ([1], [0, 2])
    """
    if mask.dtype != np.bool_ or mask.ndim != 1:
        raise ConfigError(
            where="mask",
            came=f"{mask.dtype} of shape {mask.shape}",
            expected="bool of shape (N,), True = hidden",
            todo="Make it with `mask.astype(bool)` if 1 means hidden, one clip at a time.",
        )
    visible, hidden = np.flatnonzero(~mask), np.flatnonzero(mask)
    if not visible.size or not hidden.size:
        raise ConfigError(
            where="mask",
            came=f"{hidden.size} of {mask.size} tokens are hidden",
            expected="at least one hidden and one visible token",
            todo="Check the mask's ratio and its polarity (True = hidden).",
        )
    return visible.astype(np.int64), hidden.astype(np.int64)


def keep_share(hidden_idx: NDArray[np.int64], share: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose the hidden tokens that a cross-attention decoder reconstructs (CrossMAE, section 3.2).

    Args:
        hidden_idx: int64 (M,), ascending.
        share: Share to reconstruct, in (0, 1); exactly floor(share * M) of them.
        rng: The only source of randomness.

    Returns:
        int64 (floor(share * M),), ascending.

    Raises:
        ConfigError: The share keeps none, or is not a share.
    """
    kept = num_hidden_of(hidden_idx.size, share, of_what="hidden tokens", where="masking.decode.share")
    return hidden_idx[choose(hidden_idx.size, kept, rng)]
