"""Parameter groups and optimisers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from timm.optim._optim_factory import create_optimizer_v2
from timm.optim._param_groups import param_groups_layer_decay, param_groups_weight_decay
from torch import nn


@dataclass(frozen=True)
class OptimizerOptions:
    """Which optimiser, and its constants.

    Attributes:
        name: A name that timm knows: adamw, sgd, lion, muon ...
        betas: Decay rates of Adam's moments; None leaves the optimiser's own.
        eps: Adam's epsilon; None leaves the optimiser's own.
        weight_decay: Applied to matrices and the patch embedding; never to biases, norms and the mask token.
        layer_decay: Factor of the learning rate from one block to the block below it, in (0, 1]; 1 turns it off.
    """

    name: str
    betas: tuple[float, float] | None
    eps: float | None
    weight_decay: float
    layer_decay: float


def build_optimizer(
    model: nn.Module, no_weight_decay: Collection[str], options: OptimizerOptions
) -> torch.optim.Optimizer:
    """Make the optimiser over the published parameter groups.

    With layer decay d and L blocks, block i has scale d**(L-i), the embedding d**(L+1), the rest 1; the scale stands in
    each group as `lr_scale` and is applied by `set_learning_rate`, since timm applies it in its own schedulers only.

    Args:
        model: What is trained; with timm's `group_matcher()` where layer decay is on.
        no_weight_decay: Names of parameters without weight decay, beside every one-dimensional one.
        options: The optimiser's name and constants.
    """
    if options.layer_decay < 1:
        groups = param_groups_layer_decay(
            model, options.weight_decay, no_weight_decay_list=no_weight_decay, layer_decay=options.layer_decay
        )
    else:
        groups = param_groups_weight_decay(model, options.weight_decay, no_weight_decay_list=no_weight_decay)
    # `lr` here is a placeholder: every step sets its own.
    constants: dict[str, Any] = {"lr": 0.0, "weight_decay": options.weight_decay}
    if options.betas is not None:
        constants["betas"] = options.betas
    if options.eps is not None:
        constants["eps"] = options.eps
    if options.name == "adamw":
        constants["fused"] = True
    return create_optimizer_v2(groups, opt=options.name, **constants)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group the schedule's rate times the group's own scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)
