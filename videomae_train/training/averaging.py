"""An exponential moving average of the weights, beside the weights that are trained."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Follows a model's parameters: average += (1 - decay_n) * (parameter - average) with the n-th optimizer step.

    decay_n = min(decay, (1 + n) / (10 + n)), as TensorFlow's ExponentialMovingAverage has it for a known number of
    updates: at a constant decay near 1, an average over fewer steps than 1 / (1 - decay) would mostly be the weights
    that it began with. After 30 steps their share is below 1e-7, whatever the decay.

    It is kept in float32 (or better, where the parameters are), on the parameters' device, under their names, and is
    no part of the model: the names of the model's state do not depend on it.

    Args:
        model: What is followed, as it is now: the average begins at its weights.
        decay: Where the warm-up ends, in (0, 1). About the last 1 / (1 - decay) steps count.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._updates: Tensor | int = 0  # steps taken; on the device after the first one
        # The parameters, not their tensors, which a model that moves to another device leaves behind.
        self._parameters = dict(model.named_parameters())
        self._average = {
            name: live.to(torch.promote_types(live.dtype, torch.float32), copy=True)
            for name, live in self._live()
        }

    def update(self, went: Tensor) -> None:
        """Follow one optimizer step.

        Args:
            went: Scalar on the parameters' device: 1.0 where the step was taken, 0.0 where it was skipped, which
                leaves the average as it is. A tensor, so that nobody waits for the device to know.
        """
        self._updates = went.to(torch.int64) + self._updates
        shares: dict[torch.dtype, Tensor] = {}
        for name, live in self._live():
            average = self._average[name]
            if average.dtype not in shares:
                shares[average.dtype] = self._share(average.dtype) * went
            average.lerp_(live.to(average.dtype), shares[average.dtype])

    def _share(self, dtype: torch.dtype) -> Tensor:
        """Compute 1 - decay_n on the device; 1 - (1 + n) / (10 + n) is 9 / (10 + n)."""
        assert isinstance(self._updates, Tensor)
        return (9.0 / (10.0 + self._updates.to(dtype))).clamp(min=1.0 - self._decay)

    @contextmanager
    def in_place(self) -> Generator[None]:
        """Let the model hold the average inside a block, for scoring or saving it, and its own weights after it."""
        own = {name: live.clone() for name, live in self._live()}
        self._set(self._average)
        try:
            yield
        finally:
            self._set(own)

    def state_dict(self) -> dict[str, Tensor]:
        """Give the averages under the names of the model's parameters."""
        return dict(self._average)

    def load_state_dict(self, state: Mapping[str, Tensor], updates: int) -> None:
        """Go on from saved averages of the same model, wherever they lie, after so many steps that were taken."""
        assert state.keys() == self._average.keys(), "averages of another model"
        self._updates = updates
        for name, average in self._average.items():
            average.copy_(state[name])

    def _live(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self._parameters.items():
            yield name, parameter.detach()

    def _set(self, values: Mapping[str, Tensor]) -> None:
        for name, live in self._live():
            live.copy_(values[name])
