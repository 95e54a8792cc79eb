import pytest

from videomae_train.errors import ConfigError
from videomae_train.training.plan import Budget, StepPlan, micro_batch_sizes, plan_steps


def plan(budget: Budget, **changes: float) -> StepPlan:
    arguments: dict[str, float] = {
        "num_videos": 240_436, "global_batch": 2048, "micro_batch": 32, "world_size": 64,
        "base_lr": 1.5e-4, "min_lr": 1e-5,
    }  # fmt: skip
    return plan_steps(budget, **{**arguments, **changes})  # type: ignore[arg-type]


def test_published_k400__has_its_rate_and_steps() -> None:
    made = plan(Budget(800, None, 40, None))
    assert made.schedule.peak == pytest.approx(1.2e-3)
    assert made.schedule.floor == pytest.approx(8e-5)
    assert made.total_steps == int(800 * 240_436 / 2048)
    assert made.schedule.warmup_steps == int(40 * 240_436 / 2048)
    assert made.accumulation == 1


def test_fewer_ranks__accumulate_and_change_nothing_else() -> None:
    many, one = plan(Budget(800, None, 40, None)), plan(Budget(800, None, 40, None), world_size=1)
    assert one.accumulation == 64
    assert one.schedule == many.schedule
    assert one.total_steps == many.total_steps


def test_global_batch__that_does_not_split_names_the_nearest_fits() -> None:
    with pytest.raises(ConfigError, match="1920 or 2112"):
        plan(Budget(800, None, 40, None), micro_batch=32, world_size=6, global_batch=2048)


@pytest.mark.parametrize("budget", [Budget(None, None, 1, None), Budget(10, 10, 1, None)])
def test_budget__is_epochs_or_steps(budget: Budget) -> None:
    with pytest.raises(ConfigError, match="exactly one of the two"):
        plan(budget)


def test_warmup__is_shorter_than_the_run() -> None:
    with pytest.raises(ConfigError, match="more steps than warm-up"):
        plan(Budget(None, 10, None, 10))


@pytest.mark.parametrize(
    ("global_batch", "world", "unit", "sizes"),
    [(64, 1, 1, (1, 2, 4, 8, 16, 32, 64)), (48, 2, 1, (1, 2, 4, 8, 24)), (6, 1, 2, (2, 6)), (7, 7, 1, (1,))],
)
def test_sizes__divide_a_ranks_share_and_at_least_double(
    global_batch: int, world: int, unit: int, sizes: tuple[int, ...]
) -> None:
    assert micro_batch_sizes(global_batch, world, unit=unit) == sizes


@pytest.mark.parametrize(("global_batch", "world", "unit"), [(10, 4, 1), (2, 4, 1), (6, 2, 2)])
def test_sizes__where_none_fits_the_ranks_are_refused(global_batch: int, world: int, unit: int) -> None:
    with pytest.raises(ConfigError, match=r"optim\.global_batch"):
        micro_batch_sizes(global_batch, world, unit=unit)
