"""What may stand between a classifier's tokens and its linear layer, beside the published mean and norm: for probes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from videomae_train.model.blocks import encoder_sizes
from videomae_train.model.config import VideoMAEConfig
from videomae_train.model.cross_decoder import CrossBlock

_EPS = 1e-6
_MOMENTUM = 0.1


class BatchStandardise(nn.Module):
    """Batch norm without weights, as in MAE's linear probing (He et al., 2111.06377, appendix A.1; eps 1e-6 there too).

    In training, features are brought to mean 0 and variance 1 over the clips of the pass; in evaluation, by running
    averages. Unlike torch's own, these start at the first pass's figures, so that short probes are not still on their
    way from 0 and 1, and a pass that is not finite leaves them alone, as its step leaves the weights.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))
        self.register_buffer("num_passes", torch.zeros((), dtype=torch.int64))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.num_passes: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Standardise features (B, D); in training of a single clip nothing is left."""
        x = x.to(self.running_mean.dtype)
        var, mean = self.running_var, self.running_mean
        if self.training:
            var, mean = torch.var_mean(x, dim=0, correction=0)
            self._follow(mean.detach(), var.detach() * (len(x) / max(len(x) - 1, 1)))
        return (x - mean) * (var + _EPS).rsqrt()

    @torch.no_grad()
    def _follow(self, mean: Tensor, var: Tensor) -> None:
        finite = torch.isfinite(var + mean).all()
        self.num_passes += finite
        share = torch.where(finite, (1.0 / self.num_passes.clamp(min=1)).clamp(min=_MOMENTUM), 0.0)
        for running, now in ((self.running_mean, mean), (self.running_var, var)):
            running.lerp_(torch.where(finite, now, running), share.to(running.dtype))


def fold_standardise(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take a classifier's `standardise` into its linear `head`: the same logits in evaluation, without batch norm.

    (W ((x - m) / s) + b) = (W / s) x + (b - (W / s) m), computed in float64.
    """
    folded = {name: tensor for name, tensor in state.items() if not name.startswith("standardise.")}
    mean, var = state["standardise.running_mean"].double(), state["standardise.running_var"].double()
    weight, bias = state["head.weight"], state["head.bias"]
    scaled = weight.double() * (var + _EPS).rsqrt()
    folded["head.weight"] = scaled.to(weight.dtype)
    folded["head.bias"] = (bias.double() - scaled @ mean).to(bias.dtype)
    return folded


class AttentivePool(nn.Module):
    """One cross-attention block with a learned query over all tokens (V-JEPA, 2404.08471, attentive probing).

    The query attends to the normed tokens, what it finds is added to it, then an MLP with a residual. Heads and the
    MLP's width are those of the encoder's blocks, as there (12 heads and 4D for ViT-B). The query is normed before it
    attends, which there it is not: the block is that of our cross-attention decoder.
    """

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(config.hidden_size))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.block = CrossBlock(encoder_sizes(config))
        nn.init.trunc_normal_(self.query, std=config.initializer_range)

    def forward(self, tokens: Tensor) -> Tensor:
        """Pool tokens (B, N, D): (B, D)."""
        query = self.query.expand(len(tokens), 1, -1)
        return self.block(query, self.norm(tokens))[:, 0]
