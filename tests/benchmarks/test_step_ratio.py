"""The exact step must not fall behind transformers'."""

import pytest
import torch

from videomae_train.benchmarks.alternating import in_turn
from videomae_train.benchmarks.contenders import Contender, Kind, synthetic_batch, training_step
from videomae_train.benchmarks.measuring import timed
from videomae_train.benchmarks.scaling import Setting

BOUND = 1 / 1.1
ROUNDS = 9


@pytest.mark.slow
@pytest.mark.alone
def test_exact_step__is_not_slower_than_transformers_by_more_than_a_tenth() -> None:
    """ViT-S on 16 frames of 128 x 128: a ratio of one alternating run; fails where all of the middle half says so."""
    config, cpu = Setting("small", frames=16).config, torch.device("cpu")
    kinds: tuple[Kind, ...] = ("joint", "transformers")
    steps = {
        kind: training_step(
            Contender(kind, "fp32", compile=False), config, synthetic_batch(config, kind, 1, cpu)
        )
        for kind in kinds
    }
    for step in steps.values():
        step()
    times = in_turn({kind: timed(step, cpu) for kind, step in steps.items()}, ROUNDS).ratio(*kinds)
    assert times.high >= BOUND, (
        f"{times.median:.2f} times transformers' speed ({times.low:.2f} to {times.high:.2f})"
    )
