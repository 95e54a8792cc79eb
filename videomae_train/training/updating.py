"""What happens to gradients between the backward pass and the next step, in its order."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from videomae_train.errors import CheckpointError
from videomae_train.evaluation.number_format import PrecisionName
from videomae_train.training.averaging import WeightAverage
from videomae_train.training.gating import Skips, StepGate, tie_to_gradient
from videomae_train.training.precision import Precision


@dataclass(frozen=True)
class UpdateOptions:
    """How gradients become new weights.

    Attributes:
        precision: Number format of the forward pass.
        clip_grad_norm: Largest gradient norm; None does not clip.
        ema_decay: Decay of the moving average of the weights once it is warm, in (0, 1); None keeps none.
    """

    precision: PrecisionName
    clip_grad_norm: float | None
    ema_decay: float | None


class Updater:
    """Scale, unscale, measure, clip, gate, step, average. Nothing here waits for the device but `state_dict`.

    (Optimisers without a fused kernel wait once a step; see `StepGate`.)

    Args:
        model: What is trained, on its device.
        options: Formats and constants.
        device: That device.
    """

    def __init__(self, model: nn.Module, options: UpdateOptions, device: torch.device) -> None:
        self._parameters = list(model.parameters())
        self._options = options
        self._precision = Precision(options.precision, device)
        self._gate = StepGate(device)
        self._average = None if options.ema_decay is None else WeightAverage(model, options.ema_decay)

    def autocast(self) -> AbstractContextManager[object]:
        """Compute the loss inside this block."""
        return self._precision.autocast()

    def objective(self, loss: Tensor, accumulation: int) -> Tensor:
        """Make what the backward pass starts from out of one of a step's so many losses."""
        return self._precision.scale(tie_to_gradient(loss) / accumulation)

    def apply(self, optimizer: torch.optim.Optimizer, take: Callable[[], Any]) -> Tensor:
        """Finish an optimizer step, and drop its gradients.

        Args:
            optimizer: The optimiser, with all gradients in place and averaged over ranks.
            take: Takes its step; called once, whether or not the step is held back.

        Returns:
            Scalar on the device: the gradient norm before clipping, not finite where the step was held back.
        """
        self._precision.unscale(optimizer)
        norm = self._measure_and_clip()
        went = self._gate.step(optimizer, take, norm)
        self._precision.next_scale()
        optimizer.zero_grad(set_to_none=True)
        if self._average is not None:
            self._average.update(went)
        return norm

    def _measure_and_clip(self) -> Tensor:
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self._options.clip_grad_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self._parameters, self._options.clip_grad_norm, norm)
        return norm

    @contextmanager
    def averaged_weights(self) -> Generator[None]:
        """Let the model hold the averaged weights inside a block; where none are kept, its own."""
        if self._average is None:
            yield
            return
        with self._average.in_place():
            yield

    def skips(self) -> Skips:
        """Read how many steps were held back; waits for the device."""
        return self._gate.read()

    def state_dict(self) -> dict[str, Any]:
        """Give everything that a checkpoint must hold beside the weights and the optimiser."""
        return {
            "skips": tuple(self._gate.read()),
            "loss_scale": self._precision.state_dict(),
            "ema_decay": self._options.ema_decay,
            "averaged_weights": None if self._average is None else self._average.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], step: int) -> None:
        """Go on from a checkpoint's state.

        Args:
            state: As `state_dict` gave it.
            step: Optimizer steps of the run up to the checkpoint, taken or held back.

        Raises:
            CheckpointError: That run averaged its weights in another way, or not at all.
        """
        if state["ema_decay"] != self._options.ema_decay:
            raise CheckpointError(
                where="optim.ema_decay",
                came=f"{state['ema_decay']} in the checkpoint",
                expected=f"{self._options.ema_decay}, as this run has it",
                todo="Resume with the checkpoint's optim.ema_decay, or start a new run from its weights with init=.",
            )
        skips = Skips(*state["skips"])
        self._gate.restore(skips)
        self._precision.load_state_dict(state["loss_scale"])
        if self._average is not None:
            self._average.load_state_dict(state["averaged_weights"], step - skips.num_skipped)
