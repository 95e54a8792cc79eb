"""The encoder: embeds the patches it is given, adds their positions, and transforms them."""

from __future__ import annotations

from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from videomae_train.errors import ConfigError
from videomae_train.model.blocks import Block, encoder_sizes
from videomae_train.model.config import VideoMAEConfig
from videomae_train.model.patches import PatchEmbed
from videomae_train.model.positions import position_table


class Encoder(nn.Module):
    """Vision transformer over the visible patches of a clip (VideoMAE, section 3.4).

    Attributes:
        grad_checkpointing: Recompute each block in the backward pass instead of keeping its activations.
        frozen_blocks: Blocks that stay as they are, from the first on, and the embedding with them; see `freeze`.
    """

    def __init__(self, config: VideoMAEConfig, *, final_norm: bool) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(config)
        table = position_table(config.grid, config.trained_grid, config.hidden_size)
        self.register_buffer("positions", table, persistent=False)
        self.positions: Tensor
        depth = config.num_hidden_layers
        drop_paths = torch.linspace(0.0, config.drop_path_rate, depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(Block(encoder_sizes(config), drop_path) for drop_path in drop_paths)
        self.norm = (
            nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) if final_norm else nn.Identity()
        )
        self.grad_checkpointing = False
        self.frozen_blocks = 0

    def freeze(self, num_blocks: int | Literal["all"]) -> None:
        """Hold the embedding and the first blocks as they are, with all of them the final norm too; 0 holds nothing.

        They get no gradient, so that no optimiser of ours touches them, stay in evaluation mode, and leave nothing for
        the backward pass: their input needs no gradient either.

        Raises:
            ConfigError: There are fewer blocks.
        """
        num_blocks = len(self.blocks) if num_blocks == "all" else num_blocks
        if not 0 <= num_blocks <= len(self.blocks):
            raise ConfigError(
                where="frozen_blocks",
                came=str(num_blocks),
                expected=f"0 to {len(self.blocks)}, the encoder's blocks",
                todo="Lower it, or say all.",
            )
        self.frozen_blocks = num_blocks
        self.requires_grad_(True)
        for part in self._frozen_parts():
            part.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation; frozen parts stay in evaluation."""
        super().train(mode)
        for part in self._frozen_parts():
            part.eval()
        return self

    def _frozen_parts(self) -> list[nn.Module]:
        if not self.frozen_blocks:
            return []
        blocks = list(self.blocks)[: self.frozen_blocks]
        return [self.patch_embed, *blocks, *([self.norm] if len(blocks) == len(self.blocks) else [])]

    def forward(self, patches: Tensor, idx: Tensor | None = None) -> Tensor:
        """Encode normalised patches.

        Args:
            patches: (B, V, P), normalised; the hidden ones are not among them.
            idx: int64 (B, V), the patches' token numbers; None when all N are given, in order.

        Returns:
            (B, V, D), after the final norm.
        """
        x = self.embed(patches, idx)
        for number in range(len(self.blocks)):
            x = self._run(number, x)
        return self.norm(x)

    def hidden_states(self, patches: Tensor, idx: Tensor | None = None) -> tuple[Tensor, ...]:
        """Give the tokens before the first block and after each one, without the final norm; (B, V, D)."""
        states = [self.embed(patches, idx)]
        for number in range(len(self.blocks)):
            states.append(self._run(number, states[-1]))
        return tuple(states)

    def embed(self, patches: Tensor, idx: Tensor | None) -> Tensor:
        """Embed patches (B, V, P) and add the positions that belong to their token numbers."""
        x = self.patch_embed(patches)
        positions = self.positions if idx is None else self.positions[idx]
        return x + positions.to(x.dtype)

    def _run(self, number: int, x: Tensor) -> Tensor:
        block = self.blocks[number]
        if self.grad_checkpointing and number >= self.frozen_blocks and torch.is_grad_enabled():
            return checkpoint(block, x, use_reentrant=False)
        return block(x)
