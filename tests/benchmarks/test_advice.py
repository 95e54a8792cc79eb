from dataclasses import replace

import pytest

from videomae_train.benchmarks.advice import (
    Machine,
    MeasuredRun,
    advise,
    expected_rate,
    views_to_keep_up,
    workers_to_keep_up,
)
from videomae_train.benchmarks.straightforward import StageSeconds

# A video costs 20 ms of a core, so that two workers give 100 clips/s; the GPU takes 300.
STARVED = MeasuredRun(
    machine=Machine(cores=16, threads=1, workers=2, has_gpu=True),
    views=1,
    loader=100.0,
    step=300.0,
    both=100.0,
    waiting=0.67,
    stages=StageSeconds(read=0.001, decode=0.017, transform=0.002),
    packings={"packed small": 0.003},
)


def test_verdict__goes_by_the_share_of_waiting() -> None:
    assert STARVED.verdict == "data-bound"
    assert replace(STARVED, waiting=0.01).verdict == "compute-bound"


def test_expected_rate__of_what_was_measured_is_what_was_measured() -> None:
    assert expected_rate(STARVED) == pytest.approx(100)


def test_workers__are_as_many_as_the_step_needs() -> None:
    assert workers_to_keep_up(STARVED) == 6
    assert expected_rate(STARVED, workers=6) == pytest.approx(300)
    assert expected_rate(STARVED, workers=12) == pytest.approx(300)  # the step decides from then on


def test_workers__beyond_the_cores_are_no_advice() -> None:
    few = replace(STARVED, machine=replace(STARVED.machine, cores=4))
    assert workers_to_keep_up(few) is None
    assert not any("num_workers" in words for words in advise(few))


def test_views__are_the_fewest_that_bring_nearly_everything() -> None:
    views = views_to_keep_up(STARVED)
    assert views is not None
    assert expected_rate(STARVED, views=views) >= 0.95 * 300 > expected_rate(STARVED, views=views - 1)


def test_advice__names_what_helps_with_the_rate_it_comes_to() -> None:
    words = "\n".join(advise(STARVED))
    assert "loader.num_workers=6: about 300 clips/s instead of 100" in words
    assert "data.views=" in words
    # read 1 + decode 3 + crops 2 ms
    assert "packed small: about 300 clips/s" in words
    # Crops are a tenth of the cost: 20/18.
    assert "data.crop_on=device, if the GPU crops in no time: about 111 clips/s" in words


def test_advice__of_a_step_that_never_waits_is_none() -> None:
    fed = replace(
        STARVED, machine=replace(STARVED.machine, workers=12), loader=600.0, both=300.0, waiting=0.0
    )
    assert advise(fed) == []


def test_expected_rate__on_shared_cores_adds_both_costs() -> None:
    """A step of 10 clips/s on both cores, and 20 ms of a core for each clip."""
    shared = replace(
        STARVED,
        machine=Machine(cores=2, threads=2, workers=2, has_gpu=False),
        step=10.0,
    )
    assert expected_rate(shared) == pytest.approx(1 / (0.1 + 0.01))
