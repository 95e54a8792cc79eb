import pytest

from videomae_train.benchmarks.prediction import Measured, predict


def measured(update: float, micro_batch: float, noise: tuple[float, ...] = (1.0,)) -> Measured:
    return Measured(
        short=[factor * (update + micro_batch) for factor in noise],
        long=[factor * (update + 4 * micro_batch) for factor in noise],
        long_micro_batches=4,
        fixed=5.0,
        save=2.0,
    )


@pytest.mark.parametrize("micro_batches", [1, 4, 64])
def test_predict__a_step_is_its_micro_batches_and_one_update(micro_batches: int) -> None:
    found = predict(measured(0.3, 0.1), steps=1000, micro_batches=micro_batches, save_every=(300, None))
    step = 0.3 + micro_batches * 0.1
    assert found.step_sec.middle == pytest.approx(step)
    assert found.total_sec.middle == pytest.approx(1000 * step + 5 + 3 * 2)


def test_predict__gives_the_extremes_of_the_rounds() -> None:
    found = predict(measured(0.3, 0.1, (0.9, 1.2, 1.0)), steps=10, micro_batches=8, save_every=(10, None))
    step = 0.3 + 0.8
    assert (found.step_sec.low, found.step_sec.middle, found.step_sec.high) == pytest.approx(
        (0.9 * step, step, 1.2 * step)
    )


def test_predict__never_takes_an_update_for_less_than_nothing() -> None:
    odd = Measured(short=[1.0], long=[8.0], long_micro_batches=4, fixed=0.0, save=0.0)
    assert predict(odd, steps=1, micro_batches=16, save_every=(1, None)).total_sec.middle == pytest.approx(
        32.0
    )


def test_predict__counts_the_checkpoints_of_the_clock() -> None:
    by_steps, by_clock = (
        predict(measured(0.3, 0.3), steps=1000, micro_batches=1, save_every=every).total_sec.middle
        for every in ((100, None), (None, 1.0))
    )
    # 600 s: nine checkpoints either way between the start and the end.
    assert by_clock == by_steps == pytest.approx(600 + 5 + 9 * 2)
    both = predict(measured(0.3, 0.3), steps=1000, micro_batches=1, save_every=(500, 1.0))
    assert both.total_sec.middle == by_clock
