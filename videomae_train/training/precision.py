"""Number formats of the forward pass, and the loss scale that float16 needs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import Tensor

from videomae_train.evaluation.number_format import FORMATS, PrecisionName, computing_in

__all__ = ["FORMATS", "Float32Matmul", "Precision", "PrecisionName"]

Float32Matmul = Literal["highest", "high", "medium"]


class Precision:
    """Mixed precision by autocast; the weights, their gradients and the optimiser stay float32.

    Ours instead of Lightning's, whose float16 takes the loss scale off the gradients after our clipping has measured
    them, waits for the device once a step to learn whether they overflowed, and is replaced by bfloat16 on a CPU.

    Args:
        name: fp32 computes as the weights are; bf16 and fp16 let matrix products take these.
        device: Where the model is.
    """

    def __init__(self, name: PrecisionName, device: torch.device) -> None:
        self._device = device
        self._name: PrecisionName = name
        self._scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    def autocast(self) -> AbstractContextManager[object]:
        """Compute in this format inside a block; the backward pass belongs outside of it."""
        return computing_in(self._name, self._device)

    def scale(self, loss: Tensor) -> Tensor:
        """Multiply a loss by the loss scale, where there is one."""
        return self._scaler.scale(loss)

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Take the loss scale off an optimiser's gradients, before they are measured and clipped."""
        self._scaler.unscale_(optimizer)

    def next_scale(self) -> None:
        """Halve the loss scale where the step's gradients overflowed, double it after 2,000 steps that did not."""
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Give the loss scale; empty where there is none. Waits for the device."""
        return self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a saved loss scale, or with a new one where the run had none."""
        if state and self._scaler.is_enabled():
            self._scaler.load_state_dict(state)
