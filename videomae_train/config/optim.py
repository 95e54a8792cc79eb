"""The shape of the `optim` group: the recipe of the optimisation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from videomae_train.config.fields import (
    Frozen,
    HalfOpenShare,
    NonNegative,
    NonNegativeInt,
    OpenShare,
    Positive,
    PositiveInt,
)
from videomae_train.optim import OptimizerOptions, check_optimizer
from videomae_train.training.plan import Budget


class OptimConfig(Frozen):
    """Recipe of the optimisation; rates are stated per 256 videos of the global batch."""

    name: str
    global_batch: PositiveInt
    base_lr: Positive
    min_lr: NonNegative
    epochs: Positive | None
    steps: PositiveInt | None
    warmup_epochs: NonNegative | None
    warmup_steps: NonNegativeInt | None
    betas: tuple[HalfOpenShare, HalfOpenShare] | None
    eps: Positive | None
    weight_decay: NonNegative
    layer_decay: Annotated[float, Field(gt=0, le=1)]
    clip_grad_norm: Positive | None
    ema_decay: OpenShare | None

    @model_validator(mode="after")
    def _check_optimizer(self) -> OptimConfig:
        check_optimizer(self.options)
        return self

    @property
    def budget(self) -> Budget:
        """How long to train."""
        return Budget(self.epochs, self.steps, self.warmup_epochs, self.warmup_steps)

    @property
    def options(self) -> OptimizerOptions:
        """The optimiser's constants."""
        return OptimizerOptions(self.name, self.betas, self.eps, self.weight_decay, self.layer_decay)
