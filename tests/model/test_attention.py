"""Attention in bf16 on a processor: plain products for short sequences, torch's kernel for long ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from videomae_train.model.blocks import attend

HEADS = 2


def tokens(count: int, width: int = 32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, count, width, generator=generator).bfloat16()


def attended(q: Tensor, k: Tensor, v: Tensor, precision: torch.dtype) -> tuple[Tensor, ...]:
    """Give the output and the gradients of a sum of its squares, in float64."""
    inputs = [x.to(precision).requires_grad_() for x in (q, k, v)]
    found = attend(*inputs, HEADS, 0.0)
    found.double().square().sum().backward()
    gradients = [x.grad for x in inputs]
    return found.detach().double(), *(grad.double() for grad in gradients if grad is not None)


def scores_kept(count: int) -> int:
    """Count the tensors of the size of all scores that are kept for the backward pass."""
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    x = tokens(count).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        attend(x, x, x, HEADS, 0.0)
    return kept.count(3 * HEADS * count * count)


@pytest.mark.parametrize("num_queries", [40, 7])
def test_short_sequences__have_the_numbers_of_double_precision(num_queries: int) -> None:
    q, k, v = tokens(num_queries, seed=1), tokens(40, seed=2), tokens(40, seed=3)
    exact = attended(q, k, v, torch.float64)
    for found, expected in zip(attended(q, k, v, torch.bfloat16), exact, strict=True):
        assert found.shape == expected.shape
        error = (found - expected).norm() / expected.norm()
        assert error < 0.01, "bf16 has 8 bits"


def test_short_sequences__round_little_more_than_the_fused_kernel() -> None:
    q, k, v = (tokens(64, seed=seed) for seed in (1, 2, 3))
    exact = attended(q, k, v, torch.float64)[0]

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)

    fused = F.scaled_dot_product_attention(heads(q), heads(k), heads(v)).transpose(1, 2).flatten(2)
    ours = attended(q, k, v, torch.bfloat16)[0]
    assert (ours - exact).norm() < 2.5 * (fused.double() - exact).norm()


def test_long_sequences__keep_no_scores() -> None:
    assert scores_kept(32) > 0
    assert scores_kept(300) == 0


def test_dropout__leaves_weights_out() -> None:
    torch.manual_seed(0)
    same, v = torch.zeros(3, 100, 32).bfloat16(), torch.ones(3, 100, 32).bfloat16()
    found = attend(same, same, v, HEADS, 0.5).float()
    assert found.std() == pytest.approx(0.1, rel=0.2), (
        "each query keeps other halves of a hundred equal weights"
    )
    assert found.mean() == pytest.approx(1.0, abs=0.02), "and those weigh twice as much"
