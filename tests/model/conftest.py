from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from videomae_train.model import VideoMAEConfig


@pytest.fixture(autouse=True)
def _quiet_torch() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def config() -> VideoMAEConfig:
    """48 wide, 3 blocks; clips of 4 frames 32x48 in patches of 8: a grid of 2x4x6 = 48 tokens."""
    return VideoMAEConfig(
        image_size=(32, 48),
        patch_size=8,
        num_frames=4,
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=96,
        decoder_hidden_size=24,
        decoder_num_hidden_layers=2,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=48,
    )
