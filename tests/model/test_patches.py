from __future__ import annotations

import pytest
import torch
from small_models import random_clips

from videomae_train.errors import ConfigError
from videomae_train.model import VideoMAEConfig, normalise_clips, patchify, unpatchify
from videomae_train.model.patches import PatchEmbed, gather_tokens


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_patchify_then_unpatchify__is_the_identity(config: VideoMAEConfig, dtype: torch.dtype) -> None:
    clips = random_clips(config).to(dtype)
    patches = patchify(clips, tubelet_size=2, patch_size=8)
    assert patches.shape == (2, config.grid.num_tokens, config.patch_values)
    assert patches.dtype == dtype
    assert torch.equal(unpatchify(patches, config.grid, tubelet_size=2, patch_size=8), clips)


def test_order__tokens_time_row_column_and_values_time_row_column_channel(config: VideoMAEConfig) -> None:
    clips = random_clips(config)
    patches = patchify(clips, tubelet_size=2, patch_size=8)
    t, h, w, dt, dy, dx, c = 1, 2, 5, 1, 3, 7, 2
    token, value = (t * 4 + h) * 6 + w, ((dt * 8 + dy) * 8 + dx) * 3 + c
    assert patches[1, token, value] == clips[1, t * 2 + dt, c, h * 8 + dy, w * 8 + dx]


def test_embedding__equals_the_convolution(config: VideoMAEConfig) -> None:
    embed, clips = PatchEmbed(config).double(), torch.randn(2, 4, 3, 32, 48, dtype=torch.float64)
    convolved = embed.proj(clips.transpose(1, 2)).flatten(2).transpose(1, 2)
    assert (embed(embed.cut(clips)) - convolved).abs().max() < 1e-12


def test_gather_first__equals_embedding_all_and_picking(config: VideoMAEConfig) -> None:
    embed, clips = PatchEmbed(config), random_clips(config)
    idx = torch.tensor([[0, 7, 11], [3, 4, 47]])
    gathered = embed(embed.normalise(gather_tokens(embed.cut(clips), idx)))
    all_tokens = embed(embed.cut(normalise_clips(clips)))
    assert (gathered - gather_tokens(all_tokens, idx)).abs().max() < 1e-5


def test_normalise__is_imagenet_on_unit_pixels() -> None:
    clips = torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 1, 3, 1, 1)
    expected = torch.tensor([(0 - 0.485) / 0.229, (1 - 0.456) / 0.224, (0.2 - 0.406) / 0.225])
    assert torch.allclose(normalise_clips(clips).flatten(), expected)


def test_unit_range__undoes_normalise(config: VideoMAEConfig) -> None:
    embed = PatchEmbed(config)
    patches = embed.cut(random_clips(config))
    assert (embed.unit_range(embed.normalise(patches)) - patches / 255.0).abs().max() < 1e-6


@pytest.mark.parametrize("shape", [(2, 4, 3, 32, 40), (2, 3, 4, 32, 48), (2, 8, 3, 32, 48), (4, 3, 32, 48)])
def test_clips_of_another_shape__are_refused(config: VideoMAEConfig, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="clips"):
        PatchEmbed(config).cut(torch.zeros(shape))
