"""Parameter groups and optimisers."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from timm.optim import (  # exported, but in no way that type checkers know
    create_optimizer_v2,  # pyright: ignore[reportPrivateImportUsage]
    get_optimizer_class,  # pyright: ignore[reportPrivateImportUsage]
    list_optimizers,  # pyright: ignore[reportPrivateImportUsage]
    param_groups_layer_decay,  # pyright: ignore[reportPrivateImportUsage]
    param_groups_weight_decay,  # pyright: ignore[reportPrivateImportUsage]
)
from torch import nn

from videomae_train.errors import ConfigError

# What timm knows and this loop cannot drive: apex and bitsandbytes are other packages with kernels of their own, and
# AdaHessian wants the gradient's own gradient.
_NOT_OFFERED = ["fused*", "bnb*", "adahessian"]


@dataclass(frozen=True)
class OptimizerOptions:
    """Which optimiser, and its constants.

    Attributes:
        name: A name that timm knows: adamw, sgd, lion, muon ...
        betas: Decay rates of the moments; None leaves the optimiser's own.
        eps: Added to denominators; None leaves the optimiser's own.
        weight_decay: Applied to matrices and the patch embedding; never to biases, norms and the mask token.
        layer_decay: Factor of the learning rate from one block to the block below it, in (0, 1]; 1 turns it off.
    """

    name: str
    betas: tuple[float, float] | None
    eps: float | None
    weight_decay: float
    layer_decay: float


def build_optimizer(
    model: nn.Module, no_weight_decay: Collection[str], options: OptimizerOptions, *, peak_lr: float
) -> torch.optim.Optimizer:
    """Make the optimiser over the published parameter groups.

    With layer decay d and L blocks, block i has scale d**(L-i), the embedding d**(L+1), the rest 1; the scale stands in
    each group as `lr_scale` and is applied by `set_learning_rate`, since timm applies it in its own schedulers only.

    PyTorch's own adamw, adam, sgd and adagrad are always their fused versions, on every device: one kernel over all
    parameters, and a step that is held back without waiting for the device.

    Args:
        model: What is trained; with timm's `group_matcher()` where layer decay is on.
        no_weight_decay: Names of parameters without weight decay, beside every one-dimensional one.
        options: The optimiser's name and constants.
        peak_lr: The schedule's highest rate, > 0; those with a corrected weight decay relate each rate to it.

    Raises:
        ConfigError: See `check_optimizer`.
    """
    takes = check_optimizer(options)
    if options.layer_decay < 1:
        groups = param_groups_layer_decay(
            model, options.weight_decay, no_weight_decay_list=no_weight_decay, layer_decay=options.layer_decay
        )
    else:
        groups = param_groups_weight_decay(model, options.weight_decay, no_weight_decay_list=no_weight_decay)
    for group in groups:
        group["lr"] = peak_lr * group.get("lr_scale", 1.0)
    constants: dict[str, Any] = {"lr": peak_lr, "weight_decay": options.weight_decay}
    if options.betas is not None:
        constants["betas"] = options.betas
    if options.eps is not None:
        constants["eps"] = options.eps
    if "fused" in takes:
        constants["fused"] = True
    optimizer = create_optimizer_v2(groups, opt=options.name, **constants)
    if isinstance(optimizer, torch.optim.SGD):
        _begin_momentum(optimizer)
    return optimizer


def _begin_momentum(optimizer: torch.optim.SGD) -> None:
    """Let momentum begin at zero, which gives the same first step.

    torch's fused SGD makes it of uninitialised memory, and leaves it so where that step is held back.
    """
    for group in optimizer.param_groups:
        if group["momentum"] and not group["dampening"]:
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def check_optimizer(options: OptimizerOptions) -> Mapping[str, inspect.Parameter]:
    """Refuse what could not be built: an unknown name, or constants that the optimiser does not have.

    Returns:
        What the optimiser's constructor takes.

    Raises:
        ConfigError: The name is unknown or not offered, or a constant does not fit.
    """
    offered = [str(name) for name in list_optimizers(exclude_filters=_NOT_OFFERED)]
    if options.name not in offered:
        close = difflib.get_close_matches(options.name, offered, n=3)
        raise ConfigError(
            where="optim.name",
            came=f"{options.name!r}",
            expected="an optimiser that timm offers here"
            + (f"; did you mean {', '.join(close)}?" if close else ""),
            todo=f"Choose one of: {', '.join(offered)}.",
        )
    takes = inspect.signature(get_optimizer_class(options.name, bind_defaults=False)).parameters
    for name, value in (("betas", options.betas), ("eps", options.eps)):
        if value is not None and name not in takes:
            raise _does_not_fit(name, value, options.name, "null: it has no such constant")
    own = takes["betas"].default if "betas" in takes else None
    if options.betas is not None and own is not None and len(own) != len(options.betas):
        raise _does_not_fit("betas", options.betas, options.name, f"null, for its own {len(own)}: {own}")
    return takes


def _does_not_fit(constant: str, value: object, optimizer: str, expected: str) -> ConfigError:
    return ConfigError(
        where=f"optim.{constant}",
        came=f"{value} for {optimizer}",
        expected=expected,
        todo=f"Set optim.{constant}=null.",
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group the schedule's rate times the group's own scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)
