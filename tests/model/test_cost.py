"""What is computed at all: floating point operations of the matrix products, and nothing that waits for the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from small_models import random_clips, token_numbers
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification
from videomae_train.model.patches import gather_tokens

DEVICES = ["meta", *(["cuda"] if torch.cuda.is_available() else [])]


def matrix_products(call: Callable[..., Tensor], *arguments: Tensor) -> int:
    """Count the operations of linear layers and attention: twice the multiplications."""
    with FlopCounterMode(display=False) as counter:
        call(*arguments)
    return counter.get_total_flops()


def block_cost(queries: int, context: int, width: int, mlp: int) -> int:
    """One block whose attention has so many queries, and so many tokens as keys and values."""
    projections = 2 * width * width * (2 * queries + 2 * context)
    return projections + 4 * queries * context * width + 4 * queries * width * mlp


def test_last_decoder_block__computes_only_what_the_loss_needs(config: VideoMAEConfig) -> None:
    decoder = VideoMAEForPreTraining(replace(config, decoder_num_hidden_layers=3)).decoder
    width, mlp, visible, queried = 24, 48, 12, 20
    full = block_cost(visible + queried, visible + queried, width, mlp)
    last = block_cost(queried, visible + queried, width, mlp)
    head = 2 * queried * width * config.patch_values
    cost = matrix_products(decoder, torch.randn(1, visible, width), torch.randn(1, queried, width))
    assert cost == 2 * full + last + head


def test_cross_decoder__looks_at_visible_tokens_only(config: VideoMAEConfig) -> None:
    decoder = VideoMAEForPreTraining(replace(config, decoder_kind="cross")).decoder
    width, mlp, visible, queried = 24, 48, 12, 20
    head = 2 * queried * width * config.patch_values
    cost = matrix_products(decoder, torch.randn(1, visible, width), torch.randn(1, queried, width))
    assert cost == 2 * block_cost(queried, visible, width, mlp) + head


def test_encoder__embeds_and_encodes_visible_patches_only(config: VideoMAEConfig) -> None:
    encoder = VideoMAEForPreTraining(config).encoder
    visible_idx, _ = token_numbers(config.grid, batch=1)
    patches = gather_tokens(encoder.patch_embed.cut(torch.randn(1, 4, 3, 32, 48)), visible_idx)
    count = visible_idx.shape[1]
    embedding = 2 * count * config.patch_values * 48
    assert matrix_products(encoder, patches, visible_idx) == embedding + 3 * block_cost(count, count, 48, 96)


def test_half_of_the_hidden_tokens__saves_about_a_third() -> None:
    """What VideoMAE V2 reports of dual masking at one half, here counted on ViT-B."""
    with torch.device("meta"):
        model = VideoMAEForPreTraining(VideoMAEConfig()).to("meta")
        clips = torch.zeros(1, 16, 3, 224, 224, dtype=torch.uint8)
        visible_idx = torch.zeros(1, 160, dtype=torch.int64)
        whole, half = (
            matrix_products(
                model.predict_hidden, clips, visible_idx, torch.zeros(1, count, dtype=torch.int64)
            )
            for count in (1408, 704)
        )
    assert 0.6 < half / whole < 0.7


def on(device: str, model: nn.Module, *tensors: Tensor) -> tuple[Tensor, ...]:
    model.to(device)
    return tuple(tensor.to(device) for tensor in tensors)


@contextmanager
def syncs_refused(device: str) -> Iterator[None]:
    """On a GPU, let PyTorch raise at whatever waits for it."""
    if device == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["joint", "cross"])
@pytest.mark.parametrize("norm_pix_loss", [True, False])
@pytest.mark.parametrize("path", ["training_loss", "dual_masking_loss"])
def test_pretraining__never_waits_for_the_device(
    config: VideoMAEConfig, kind: str, norm_pix_loss: bool, path: str, device: str
) -> None:
    """Tensors on the meta device hold no values: whoever looks at one (.item(), boolean indexing) raises."""
    model = VideoMAEForPreTraining(replace(config, decoder_kind=kind, norm_pix_loss=norm_pix_loss))
    model.set_grad_checkpointing(path == "training_loss")
    arguments = on(device, model, random_clips(config), *token_numbers(config.grid))
    with syncs_refused(device):
        getattr(model, path)(*arguments).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("device", DEVICES)
def test_classification__never_waits_for_the_device(config: VideoMAEConfig, device: str) -> None:
    model = VideoMAEForVideoClassification(replace(config, drop_path_rate=0.1).with_labels(5)).train()
    (clips,) = on(device, model, random_clips(config))
    with syncs_refused(device):
        model.classify(clips).sum().backward()


def test_a_look_at_a_value__would_be_found(config: VideoMAEConfig) -> None:
    """The check on the checks: the Hugging Face call looks at its mask."""
    model = VideoMAEForPreTraining(config)
    mask = torch.zeros(2, 48, dtype=torch.bool)
    pixels, mask = on("meta", model, torch.randn(2, 4, 3, 32, 48), mask)
    with pytest.raises(RuntimeError, match="meta"):
        model(pixels, mask)
    with pytest.raises(RuntimeError, match="meta"):
        pixels[mask.any(1)]
