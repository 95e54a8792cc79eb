"""The gate of an optimizer step: gradients that are not finite never reach the weights."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Skips(NamedTuple):
    """Steps that the gate held back.

    Attributes:
        num_skipped: In the whole run.
        in_a_row: Up to the latest step, without one in between that was taken.
    """

    num_skipped: int
    in_a_row: int


def tie_to_gradient(loss: Tensor) -> Tensor:
    """Give the same loss, made so that every gradient becomes NaN where the loss itself is not finite.

    Gradients are averaged over ranks and the loss is not. Tied so, the gradients tell every rank of one rank's bad
    loss without a collective of its own. A finite loss is multiplied by exactly 1.
    """
    return loss * (1.0 + 0.0 * loss.detach())


class StepGate:
    """Lets an optimizer step through where the gradient norm is finite, and counts where it is not.

    The norm is taken after the gradients were averaged over the ranks, so that all of them decide alike. The decision
    is a tensor: PyTorch's fused optimisers (adamw, adam, sgd, adagrad) take it along to the device as `found_inf`, and
    the step is given out without waiting. Others leave parameters without gradients alone, which has to be known here:
    they cost one wait for the device a step.

    Args:
        device: Where the gradients are.
    """

    def __init__(self, device: torch.device) -> None:
        self._counts = torch.zeros(2, dtype=torch.int64, device=device)

    def step(self, optimizer: torch.optim.Optimizer, take: Callable[[], Any], norm: Tensor) -> Tensor:
        """Take a step, or leave weights and the optimiser's state as they are.

        Args:
            optimizer: Whose gradients these are.
            take: Takes its step.
            norm: Scalar, norm of all gradients.

        Returns:
            Float32 scalar on the device: 1.0 where the step was taken, 0.0 where not.
        """
        held = ~torch.isfinite(norm)
        if is_gated_on_device(optimizer):
            optimizer.found_inf = held.to(torch.float32)  # pyright: ignore[reportAttributeAccessIssue]
            take()
        elif bool(held):
            _take_nothing(optimizer, take)
        else:
            take()
        # [in the run, in a row]: the second starts again at 0 with every step that is taken.
        self._counts[1].mul_(held)
        self._counts.add_(held)
        return (~held).to(torch.float32)

    def read(self) -> Skips:
        """Read the counts; waits for the device."""
        return Skips(*self._counts.tolist())

    def restore(self, skips: Skips) -> None:
        """Go on counting from a checkpoint's counts."""
        self._counts.copy_(torch.tensor(skips))


def _take_nothing(optimizer: torch.optim.Optimizer, take: Callable[[], Any]) -> None:
    """Let the loop count a step of which parameters, without gradients, notice nothing; nor do timm's step counts."""
    counts = [deepcopy(group.get("step")) for group in optimizer.param_groups]  # tensors are counted in place
    optimizer.zero_grad(set_to_none=True)
    take()
    for group, count in zip(optimizer.param_groups, counts, strict=True):
        if count is None:
            group.pop("step", None)
        else:
            group["step"] = count


def is_gated_on_device(optimizer: torch.optim.Optimizer) -> bool:
    """Tell whether an optimiser takes the decision along to the device."""
    # Set by torch on the instances whose fused kernels read `found_inf`; GradScaler asks the same way.
    return getattr(optimizer, "_step_supports_amp_scaling", False)
