"""A cheaper decoder: queried positions look at the visible tokens, and not at each other."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from videomae_train.model.blocks import BlockSizes, RecomputingMlp, attend, decoder_sizes
from videomae_train.model.config import VideoMAEConfig


class CrossAttention(nn.Module):
    """Multi-head attention of queries over another set of tokens; biases as in `blocks.Attention`."""

    def __init__(self, sizes: BlockSizes) -> None:
        super().__init__()
        self.heads, self.attn_drop = sizes.heads, sizes.attn_drop
        self.q = nn.Linear(sizes.width, sizes.width, bias=sizes.bias)
        self.k = nn.Linear(sizes.width, sizes.width, bias=False)
        self.v = nn.Linear(sizes.width, sizes.width, bias=sizes.bias)
        self.proj = nn.Linear(sizes.width, sizes.width)
        self.proj_drop = nn.Dropout(sizes.drop)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Let tokens (B, M, D) attend to the context (B, V, D): (B, M, D)."""
        dropout = self.attn_drop if self.training else 0.0
        found = attend(self.q(x), self.k(context), self.v(context), self.heads, dropout)
        return self.proj_drop(self.proj(found))


class CrossBlock(nn.Module):
    """Pre-norm block: x += attention(norm1(x), context); x += mlp(norm2(x))."""

    def __init__(self, sizes: BlockSizes) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(sizes.width, eps=sizes.eps)
        self.attn = CrossAttention(sizes)
        self.norm2 = nn.LayerNorm(sizes.width, eps=sizes.eps)
        self.mlp = RecomputingMlp(sizes)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Transform queried tokens (B, M, D) in the light of the context (B, V, D)."""
        x = x + self.attn(self.norm1(x), context)
        return x + self.mlp(self.norm2(x))


class CrossDecoder(nn.Module):
    """Decoder whose queries attend to the visible tokens only (CrossMAE, section 3.2).

    A prediction does not depend on which other positions are queried, so any share of the hidden ones can be.

    Attributes:
        grad_checkpointing: Recompute each block in the backward pass instead of keeping its activations.
    """

    def __init__(self, config: VideoMAEConfig, num_values: int) -> None:
        super().__init__()
        self.context_norm = nn.LayerNorm(config.decoder_hidden_size, eps=config.layer_norm_eps)
        self.blocks = nn.ModuleList(
            CrossBlock(decoder_sizes(config)) for _ in range(config.decoder_num_hidden_layers)
        )
        self.norm = nn.LayerNorm(config.decoder_hidden_size, eps=config.decoder_norm_eps)
        self.head = nn.Linear(config.decoder_hidden_size, num_values)
        self.grad_checkpointing = False

    def forward(self, visible: Tensor, queries: Tensor) -> Tensor:
        """Predict the queried positions.

        Args:
            visible: (B, V, Dd), encodings of the visible tokens with their positions.
            queries: (B, M, Dd), mask tokens with the positions to predict.

        Returns:
            (B, M, values per token), in the order of the queries.
        """
        context, x = self.context_norm(visible), queries
        for block in self.blocks:
            if self.grad_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, context, use_reentrant=False)
            else:
                x = block(x, context)
        return self.head(self.norm(x))
