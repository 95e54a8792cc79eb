"""Batch arithmetic: from a recipe's global batch and a machine's micro batch to steps, shares and learning rates."""

from __future__ import annotations

from dataclasses import dataclass

from videomae_train.data.order import check_batch_sizes
from videomae_train.errors import ConfigError
from videomae_train.optim import WarmupCosine


@dataclass(frozen=True)
class Budget:
    """How long a run trains: in epochs or in optimizer steps, exactly one of the two.

    Attributes:
        epochs: Passes over the selected videos; fractions are allowed.
        steps: Optimizer steps.
        warmup_epochs: Passes of the warm-up.
        warmup_steps: Optimizer steps of the warm-up.
    """

    epochs: float | None
    steps: int | None
    warmup_epochs: float | None
    warmup_steps: int | None


@dataclass(frozen=True)
class StepPlan:
    """What every optimizer step of a run consists of.

    Attributes:
        global_batch: Videos of one optimizer step over all ranks, G.
        micro_batch: Videos that one rank takes through the model at once.
        world_size: Ranks.
        accumulation: Micro-batches of one rank in one optimizer step.
        total_steps: Optimizer steps of the whole run.
        schedule: Learning rate of each step, already scaled by the batch.
    """

    global_batch: int
    micro_batch: int
    world_size: int
    accumulation: int
    total_steps: int
    schedule: WarmupCosine


def plan_steps(
    budget: Budget,
    *,
    num_videos: int,
    global_batch: int,
    micro_batch: int,
    world_size: int,
    base_lr: float,
    min_lr: float,
) -> StepPlan:
    """Derive accumulation, steps and learning rates.

    The rates are stated per 256 videos of the global batch and grow with it; repeated views do not count (as
    published). The total is floor(epochs * num_videos / global_batch).

    Raises:
        ConfigError: The global batch does not split evenly; the budget is ambiguous or shorter than its warm-up.
    """
    check_batch_sizes(global_batch, micro_batch, world_size)
    accumulation = global_batch // (micro_batch * world_size)
    total = _steps("optim.epochs", "optim.steps", budget.epochs, budget.steps, num_videos, global_batch)
    warmup = _steps(
        "optim.warmup_epochs",
        "optim.warmup_steps",
        budget.warmup_epochs,
        budget.warmup_steps,
        num_videos,
        global_batch,
    )
    if total <= warmup:
        raise ConfigError(
            where="optim",
            came=f"{total} steps in all and {warmup} steps of warm-up",
            expected="more steps than warm-up",
            todo="Raise optim.epochs (or optim.steps) or lower optim.warmup_epochs (or optim.warmup_steps).",
        )
    scale = global_batch / 256
    schedule = WarmupCosine(
        peak=base_lr * scale, floor=min_lr * scale, warmup_steps=warmup, total_steps=total
    )
    return StepPlan(global_batch, micro_batch, world_size, accumulation, total, schedule)


def micro_batch_sizes(global_batch: int, world_size: int, *, unit: int = 1) -> tuple[int, ...]:
    """List the sizes to try: each divides a rank's share of the global batch and is at least twice the one before.

    Args:
        global_batch: Videos of one optimizer step over all ranks.
        world_size: Ranks.
        unit: Every size is a multiple of it.

    Raises:
        ConfigError: There is none.

    >>> micro_batch_sizes(48, 2)
    (1, 2, 4, 8, 24)
    """
    share, rest = divmod(global_batch, world_size)
    if rest or share == 0 or share % unit:
        raise ConfigError(
            where="optim.global_batch",
            came=f"{global_batch} videos per step on {world_size} ranks",
            expected=f"a multiple of {world_size} x {unit}",
            todo="Change optim.global_batch or the number of ranks.",
        )
    sizes: list[int] = []
    for size in range(unit, share + 1, unit):
        if share % size == 0 and (not sizes or size >= 2 * sizes[-1]):
            sizes.append(size)
    return tuple(sizes)


def _steps(
    epochs_key: str,
    steps_key: str,
    epochs: float | None,
    steps: int | None,
    num_videos: int,
    global_batch: int,
) -> int:
    if (epochs is None) == (steps is None):
        raise ConfigError(
            where=f"{epochs_key}, {steps_key}",
            came=f"{epochs} and {steps}",
            expected="exactly one of the two",
            todo="Set the other one to null.",
        )
    return steps if steps is not None else int((epochs or 0) * num_videos / global_batch)
