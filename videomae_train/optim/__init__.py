"""Parameter groups, optimisers and the learning-rate schedule."""

from videomae_train.optim.optimizers import (
    OptimizerOptions,
    build_optimizer,
    check_optimizer,
    set_learning_rate,
)
from videomae_train.optim.schedule import WarmupCosine

__all__ = ["OptimizerOptions", "WarmupCosine", "build_optimizer", "check_optimizer", "set_learning_rate"]
