"""A model family small enough for every test, and masks and clips for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from videomae_train.masking import TubeMask, split_mask
from videomae_train.model import VideoMAEConfig
from videomae_train.types import PatchGrid

CONFIGS = Path(__file__).parents[2] / "configs" / "model"


def random_clips(config: VideoMAEConfig, batch: int = 2) -> Tensor:
    """Bytes (B, T, C, H, W) as a view of (B, T, H, W, C) memory."""
    shape = (batch, config.num_frames, *config.frame_size, config.num_channels)
    return torch.randint(0, 256, shape, dtype=torch.uint8).permute(0, 1, 4, 2, 3)


def token_numbers(grid: PatchGrid, batch: int = 2, ratio: float = 0.75) -> tuple[Tensor, Tensor]:
    """visible_idx (B, V) and hidden_idx (B, M) of tube masks."""
    rng = np.random.default_rng(0)
    visible, hidden = zip(*(split_mask(TubeMask(ratio)(grid, rng)) for _ in range(batch)), strict=True)
    return torch.from_numpy(np.stack(visible)), torch.from_numpy(np.stack(hidden))


def bool_mask(hidden_idx: Tensor, num_tokens: int) -> Tensor:
    """The boolean mask (B, N) of token numbers."""
    return torch.zeros(len(hidden_idx), num_tokens, dtype=torch.bool).scatter(1, hidden_idx, True)


def shake(model: nn.Module, deviation: float = 0.1) -> None:
    """Give every parameter random values, biases and norms too, so that none can be left out unnoticed."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * deviation)
