"""The transformer block: timm's shape and parts, with the published attention biases."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from timm.layers.activations import GELUTanh
from timm.layers.drop import DropPath
from timm.layers.mlp import Mlp
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from videomae_train.model.config import VideoMAEConfig

# Queries times keys up to which a processor attends in bf16 with plain matrix products; see `attend`.
_most_plain_scores = 256 * 256

ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "gelu_pytorch_tanh": GELUTanh, "relu": nn.ReLU}


class BlockSizes(NamedTuple):
    """What a block needs to know; the encoder and the decoder differ in these numbers only.

    Attributes:
        width: D.
        heads: Attention heads; divides the width.
        mlp_width: Width inside the MLP.
        act: Key of `ACTIVATIONS`.
        eps: Layer norm epsilon.
        bias: Learned query and value biases.
        drop: Dropout after attention and MLP.
        attn_drop: Dropout on attention weights.
    """

    width: int
    heads: int
    mlp_width: int
    act: str
    eps: float
    bias: bool
    drop: float
    attn_drop: float


def encoder_sizes(config: VideoMAEConfig) -> BlockSizes:
    """Read the encoder's block sizes from a configuration."""
    return BlockSizes(
        width=config.hidden_size,
        heads=config.num_attention_heads,
        mlp_width=config.intermediate_size,
        act=config.hidden_act,
        eps=config.layer_norm_eps,
        bias=config.qkv_bias,
        drop=config.hidden_dropout_prob,
        attn_drop=config.attention_probs_dropout_prob,
    )


def decoder_sizes(config: VideoMAEConfig) -> BlockSizes:
    """Read the decoder's block sizes from a configuration."""
    return encoder_sizes(config)._replace(
        width=config.decoder_hidden_size,
        heads=config.decoder_num_attention_heads,
        mlp_width=config.decoder_intermediate_size,
    )


class Attention(nn.Module):
    """Multi-head attention with learned query and value biases and a key bias that is zero for ever.

    A key bias shifts all scores of a query alike, so softmax ignores it and its gradient is rounding noise,
    which AdamW would turn into drift. It is a constant here, as published.
    """

    def __init__(self, sizes: BlockSizes) -> None:
        super().__init__()
        self.heads, self.attn_drop = sizes.heads, sizes.attn_drop
        self.qkv = nn.Linear(sizes.width, 3 * sizes.width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(sizes.width)) if sizes.bias else None
        self.v_bias = nn.Parameter(torch.zeros(sizes.width)) if sizes.bias else None
        self.register_buffer("k_bias", torch.zeros(sizes.width), persistent=False)
        self.k_bias: Tensor
        self.proj = nn.Linear(sizes.width, sizes.width)
        self.proj_drop = nn.Dropout(sizes.drop)

    def forward(self, x: Tensor, num_queries: int | None = None) -> Tensor:
        """Let tokens attend to all tokens.

        Args:
            x: (B, N, D), normed tokens.
            num_queries: Compute only the last so many tokens; None means all.

        Returns:
            (B, num_queries or N, D).
        """
        width = x.shape[-1]
        weight, bias = self.qkv.weight, self._bias()
        if num_queries is None:
            q, k, v = F.linear(x, weight, bias).chunk(3, dim=-1)
        else:
            q = F.linear(x[:, -num_queries:], weight[:width], None if bias is None else bias[:width])
            k, v = F.linear(x, weight[width:], None if bias is None else bias[width:]).chunk(2, dim=-1)
        return self.proj_drop(
            self.proj(attend(q, k, v, self.heads, self.attn_drop if self.training else 0.0))
        )

    def _bias(self) -> Tensor | None:
        if self.q_bias is None or self.v_bias is None:
            return None
        return torch.cat((self.q_bias, self.k_bias, self.v_bias))


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, dropout: float) -> Tensor:
    """Scaled dot-product attention over heads: q (B, Q, D), k and v (B, K, D) give (B, Q, D).

    torch's fused kernel for processors computes bf16 without their bf16 instructions. Where the scores are few, matrix
    products, which use them, are faster (docs/performance.md) and round about twice as much (0.4 %), since scores are
    bf16 too; where they are many, they would not fit the memory.
    """
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    if q.is_cpu and q.dtype == torch.bfloat16 and q.shape[-2] * k.shape[-2] <= _most_plain_scores:
        found = _attend_plainly(q, k, v, dropout)
    else:
        found = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
    return found.transpose(1, 2).flatten(2)


@contextmanager
def fused_attention() -> Generator[None]:
    """Attend within as a GPU does: with the fused kernel at every length and in every format, also on a processor."""
    global _most_plain_scores
    before, _most_plain_scores = _most_plain_scores, 0
    try:
        yield
    finally:
        _most_plain_scores = before


def _attend_plainly(q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
    """Attend with the scores written out: q (B, heads, Q, d), k and v (B, heads, K, d), all bf16."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    # Autocast would have softmax give float32, three times the memory; inside it computes in float32 either way.
    with torch.autocast("cpu", enabled=False):
        weights = scores.softmax(-1)
    return F.dropout(weights, dropout) @ v


class RecomputingMlp(Mlp):
    """timm's MLP, which keeps its hidden layer for the backward pass once instead of twice.

    Backward needs the values before the activation function and those after it, the largest tensors of a block. Here it
    computes the latter again, which takes next to no time; no matrix product is done twice, and all numbers stay the
    same.
    """

    def __init__(self, sizes: BlockSizes) -> None:
        super().__init__(
            sizes.width, sizes.mlp_width, act_layer=ACTIVATIONS[sizes.act], drop=(0.0, sizes.drop)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Transform tokens (..., D)."""
        hidden = self.fc1(x)
        if not hidden.requires_grad:
            return self.drop2(self._second_half(hidden))
        # Recomputation ends where everything that was saved is there again: before the matrix product. Nothing random
        # is within.
        return self.drop2(
            checkpoint(self._second_half, hidden, use_reentrant=False, preserve_rng_state=False)
        )

    def _second_half(self, hidden: Tensor) -> Tensor:
        return self.fc2(self.norm(self.act(hidden)))


class Block(nn.Module):
    """Pre-norm transformer block: x += attention(norm1(x)); x += mlp(norm2(x))."""

    def __init__(self, sizes: BlockSizes, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(sizes.width, eps=sizes.eps)
        self.attn = Attention(sizes)
        self.norm2 = nn.LayerNorm(sizes.width, eps=sizes.eps)
        self.mlp = RecomputingMlp(sizes)
        self.drop_path = DropPath(drop_path) if drop_path > 0.0 else nn.Identity()

    def forward(self, x: Tensor, num_queries: int | None = None) -> Tensor:
        """Transform tokens (B, N, D); with num_queries, compute and return the last so many only."""
        residual = x if num_queries is None else x[:, -num_queries:]
        x = residual + self.drop_path(self.attn(self.norm1(x), num_queries))
        return x + self.drop_path(self.mlp(self.norm2(x)))
