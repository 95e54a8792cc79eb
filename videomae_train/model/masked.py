"""From Hugging Face's boolean mask to token numbers, with the checks that a boolean mask needs."""

from __future__ import annotations

import torch
from torch import Tensor

from videomae_train.errors import ConfigError


def split_bool_mask(mask: Tensor, *, batch: int, num_tokens: int) -> tuple[Tensor, Tensor]:
    """Turn a batch of masks into token numbers.

    Args:
        mask: Bool (B, N), True = hidden; each clip hides the same number.
        batch: B that is expected.
        num_tokens: N that is expected.

    Returns:
        visible_idx int64 (B, V) and hidden_idx int64 (B, M), each ascending.

    Raises:
        ConfigError: Another dtype or shape, unequal counts, or nothing hidden, or nothing visible. Integer
            masks are refused because their inverse (~1 is -2) would be used as an index.
    """
    if mask.dtype != torch.bool or tuple(mask.shape) != (batch, num_tokens):
        raise _error(
            f"{mask.dtype} of shape {tuple(mask.shape)}", f"torch.bool of shape ({batch}, {num_tokens})"
        )
    counts = mask.sum(dim=1)
    fewest, most = int(counts.min()), int(counts.max())
    if fewest != most:
        raise _error(f"between {fewest} and {most} hidden tokens a clip", "the same number in each clip")
    if not 0 < most < num_tokens:
        raise _error(f"{most} of {num_tokens} tokens hidden", "at least one hidden and one visible token")
    # A stable sort of False before True lists the visible tokens and then the hidden ones, each ascending.
    order = mask.to(torch.uint8).argsort(dim=1, stable=True)
    return order[:, : num_tokens - most], order[:, num_tokens - most :]


def check_token_numbers(idx: Tensor, *, name: str, batch: int, num_tokens: int) -> None:
    """Check dtype and shape of token numbers without looking at them, which would wait for the device.

    Raises:
        ConfigError: Not int64 (B, 1..N).
    """
    if (
        idx.dtype != torch.int64
        or idx.ndim != 2
        or idx.shape[0] != batch
        or not 0 < idx.shape[1] <= num_tokens
    ):
        raise ConfigError(
            where=name,
            came=f"{idx.dtype} of shape {tuple(idx.shape)}",
            expected=f"torch.int64 of shape ({batch}, 1..{num_tokens})",
            todo="Pass token numbers, as masking.split_mask makes them.",
        )


def _error(came: str, expected: str) -> ConfigError:
    return ConfigError(
        where="bool_masked_pos", came=came, expected=expected, todo="Pass a boolean mask, True = hidden."
    )
