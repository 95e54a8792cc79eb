"""From a configuration to the arithmetic of its steps; nothing here trains."""

from __future__ import annotations

from videomae_train.config.schema import FinetuneConfig, PretrainConfig
from videomae_train.errors import ConfigError
from videomae_train.training.plan import StepPlan, micro_batch_sizes, plan_steps


def step_plan(config: PretrainConfig | FinetuneConfig, num_videos: int) -> StepPlan:
    """Derive accumulation, steps and rates."""
    return plan_steps(
        config.optim.budget,
        num_videos=num_videos,
        global_batch=config.optim.global_batch,
        micro_batch=initial_micro_batch(config),
        world_size=config.trainer.world_size,
        base_lr=config.optim.base_lr,
        min_lr=config.optim.min_lr,
    )


def initial_micro_batch(config: PretrainConfig | FinetuneConfig) -> int:
    """Give the machine's micro-batch, or where it is searched for, the smallest; the search replaces it."""
    return sizes_to_try(config)[0] if config.trainer.micro_batch == "auto" else config.trainer.micro_batch


def sizes_to_try(config: PretrainConfig | FinetuneConfig) -> tuple[int, ...]:
    """List the micro-batches that a search tries, in ascending order.

    Raises:
        ConfigError: It would not try what is trained, or there are none.
    """
    if config.data.crop_on == "device":
        raise ConfigError(
            where="trainer.micro_batch", came="auto with data.crop_on=device",
            expected="a number: whole videos lie in the device's memory, whose sizes no search can foresee",
            todo="Give trainer.micro_batch=<videos>, or crop on the processor with data.crop_on=cpu.",
        )  # fmt: skip
    # Mixing pairs videos.
    mixes = isinstance(config, FinetuneConfig) and config.mix.mixes
    return micro_batch_sizes(config.optim.global_batch, config.trainer.world_size, unit=2 if mixes else 1)


def check_pairs(config: FinetuneConfig) -> None:
    """Mixing pairs the clips of a micro-batch: the first with the last, and so on.

    Raises:
        ConfigError: Their number is odd, or they are all of one video, whose label is its own partner's.
    """
    videos = initial_micro_batch(config)
    if config.mix.mixes and (videos * config.data.views % 2 or videos == 1):
        raise ConfigError(
            where="trainer.micro_batch",
            came=f"{videos} videos x {config.data.views} view(s) with mixup or cutmix",
            expected="two videos or more, and an even number of clips",
            todo="Give an even trainer.micro_batch, or set mix.mixup_alpha=0 mix.cutmix_alpha=0.",
        )
