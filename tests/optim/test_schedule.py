import numpy as np
import pytest

from videomae_train.optim import WarmupCosine


@pytest.mark.parametrize(("warmup", "total"), [(40, 800), (0, 10), (5, 6), (2, 50)])
def test_schedule__equals_the_published_arrays(warmup: int, total: int) -> None:
    peak, floor = 6e-4, 4e-5
    rising = np.linspace(0, peak, warmup)
    num_falling = total - warmup
    falling = [
        floor + 0.5 * (peak - floor) * (1 + np.cos(np.pi * i / num_falling)) for i in range(num_falling)
    ]
    expected = np.concatenate([rising, falling])
    schedule = WarmupCosine(peak=peak, floor=floor, warmup_steps=warmup, total_steps=total)
    np.testing.assert_allclose([schedule(step) for step in range(total)], expected, rtol=1e-12)


def test_schedule__peaks_at_the_last_warmup_step_and_once_more() -> None:
    schedule = WarmupCosine(peak=1.0, floor=0.0, warmup_steps=10, total_steps=100)
    assert schedule(0) == 0.0
    assert schedule(9) == schedule(10) == 1.0
    assert schedule(11) < 1.0


def test_schedule__a_step_past_the_plan_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError):
        WarmupCosine(peak=1.0, floor=0.0, warmup_steps=1, total_steps=5)(5)
