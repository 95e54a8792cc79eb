"""The MLP's hidden layer is kept once for the backward pass: the same numbers, the same work, less memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from small_models import random_clips, token_numbers
from timm.layers.mlp import Mlp
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining
from videomae_train.model.blocks import BlockSizes, RecomputingMlp

CONFIG = VideoMAEConfig(
    image_size=32, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=56, decoder_hidden_size=12, decoder_num_hidden_layers=2, decoder_num_attention_heads=2,
    decoder_intermediate_size=56, hidden_dropout_prob=0.1,
)  # fmt: skip
HIDDEN = 56  # a width that nothing else has


def trained_once(
    config: VideoMAEConfig, precision: torch.dtype
) -> tuple[Tensor, list[Tensor | None], int, int]:
    """Give a step's loss, its gradients, its operations, and how many hidden layers were kept."""
    torch.manual_seed(0)
    model = VideoMAEForPreTraining(config).train()
    clips, (visible, hidden) = random_clips(config), token_numbers(config.grid)
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        widths = (config.hidden_size, config.decoder_hidden_size, HIDDEN)
        if tensor.shape[-1] == HIDDEN and tensor.shape[0] not in widths:  # else it is a weight
            kept.append(tensor)
        return tensor

    def unpack(tensor: Any) -> Any:
        return tensor

    with FlopCounterMode(display=False) as counter:
        with (
            torch.autocast("cpu", precision, enabled=precision != torch.float32),
            torch.autograd.graph.saved_tensors_hooks(pack, unpack),
        ):
            loss = model.training_loss(clips, visible, hidden)
        loss.backward()
    return loss, [p.grad for p in model.parameters()], counter.get_total_flops(), len(kept)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("decoder", ["joint", "cross"])
def test_recomputation__changes_no_number_and_keeps_no_second_hidden_layer(
    decoder: str, precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, decoder_kind=decoder)
    loss, gradients, flops, kept = trained_once(config, precision)
    monkeypatch.setattr(RecomputingMlp, "forward", Mlp.forward)
    plain_loss, plain_gradients, plain_flops, plain_kept = trained_once(config, precision)
    assert torch.equal(loss, plain_loss)
    assert all(torch.equal(a, b) for a, b in zip(gradients, plain_gradients, strict=True) if a is not None)
    assert [g is None for g in gradients] == [g is None for g in plain_gradients]
    assert flops == plain_flops  # no matrix product twice
    layers = config.num_hidden_layers + config.decoder_num_hidden_layers
    assert (kept, plain_kept) == (layers, 2 * layers)


def test_recomputation__is_left_out_where_no_gradient_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videomae_train.model.blocks.checkpoint", None)
    mlp = RecomputingMlp(BlockSizes(8, 2, 32, "gelu", 1e-6, bias=True, drop=0.0, attn_drop=0.0))
    x = torch.randn(2, 3, 8)
    with torch.no_grad():
        expected = mlp(x)
    assert torch.equal(mlp.requires_grad_(False)(x), expected)
