"""The decoder: from the visible tokens' encodings to a prediction for each queried position."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from videomae_train.model.blocks import Block, decoder_sizes
from videomae_train.model.config import VideoMAEConfig


class JointDecoder(nn.Module):
    """Decoder in which visible and queried tokens attend to each other (VideoMAE, section 3.4).

    Which positions are queried is the caller's choice: all hidden ones (VideoMAE), or a part of them
    (VideoMAE V2).

    Attributes:
        grad_checkpointing: Recompute each block in the backward pass instead of keeping its activations.
    """

    def __init__(self, config: VideoMAEConfig, num_values: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(decoder_sizes(config)) for _ in range(config.decoder_num_hidden_layers)
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
        x = torch.cat((visible, queries), dim=1)
        last = len(self.blocks) - 1
        for depth, block in enumerate(self.blocks):
            # Nobody reads the visible tokens after the last block, so they are only keys and values in it.
            num_queries = queries.shape[1] if depth == last else None
            if self.grad_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, num_queries, use_reentrant=False)
            else:
                x = block(x, num_queries)
        return self.head(self.norm(x))
