from __future__ import annotations

import pickle
from itertools import chain, pairwise

import numpy as np
import pytest

from videomae_train.data.order import (
    EpochOrder,
    MicroBatchSampler,
    check_batch_sizes,
    micro_batch_positions,
)
from videomae_train.errors import ConfigError

SHARDS = np.repeat([0, 1, 3, 4, 7], [6, 4, 5, 7, 3])

GOLDEN_PLACES = [(0, 46), (0, 26), (1, 4)]
GOLDEN_EPOCH = [46, 10, 0, 2, 44, 8, 48, 6, 4, 38, 34, 22, 32, 20, 40, 16, 36, 42, 30, 12, 18, 28, 24, 14, 26]
GOLDEN_ALTERNATES = [10, 42, 8, 8]


def make_order(window_videos: int = 100, seed: int = 0, fingerprint: str = "f") -> EpochOrder:
    return EpochOrder(
        np.arange(25) * 2, SHARDS, fingerprint=fingerprint, seed=seed, window_videos=window_videos
    )


def test_order__is_golden() -> None:
    """This very order, for ever: runs that are resumed under a newer version depend on it."""
    order = make_order(window_videos=9)
    assert [order.sample_at(position) for position in (0, 24, 25)] == GOLDEN_PLACES
    assert order.epoch(0).tolist() == GOLDEN_EPOCH
    assert [order.alternate(7, attempt) for attempt in range(4)] == GOLDEN_ALTERNATES


@pytest.mark.parametrize("window_videos", [1, 9, 100])
def test_order__each_epoch_has_each_video_once(window_videos: int) -> None:
    order = make_order(window_videos)
    epochs = [[order.sample_at(25 * epoch + place) for place in range(25)] for epoch in range(4)]
    for number, epoch in enumerate(epochs):
        assert sorted(epoch) == [(number, 2 * row) for row in range(25)]
    orders = {tuple(sample for _, sample in epoch) for epoch in epochs}
    assert len(orders) == 4, "epochs differ"


def test_order__depends_on_seed_and_content_only() -> None:
    first = make_order().epoch(3).tolist()
    assert first == make_order().epoch(3).tolist()
    assert first != make_order(seed=1).epoch(3).tolist()
    assert first != make_order(fingerprint="g").epoch(3).tolist()


def test_order__reads_window_by_window() -> None:
    shard_of = dict(zip((np.arange(25) * 2).tolist(), SHARDS.tolist(), strict=True))
    for epoch in range(10):
        shards = [shard_of[sample] for sample in make_order(window_videos=9).epoch(epoch).tolist()]
        first, last = {}, {}
        for place, shard in enumerate(shards):
            first.setdefault(shard, place)
            last[shard] = place
        # A shard is open at most while the videos of its window pass: 9 to fill it and the rest of the last
        # shard, and as many again where the end of the epoch joins in.
        assert max(last[shard] - first[shard] for shard in first) < 9 + 6 + 9
    one_each = make_order(window_videos=1).epoch(0).tolist()
    runs = [shard_of[sample] for sample in one_each]
    assert sum(a != b for a, b in pairwise(runs)) == 4, "shard after shard"


def test_order__random_access_needs_no_state() -> None:
    order = make_order()
    straight = [order.sample_at(position) for position in range(100)]
    jumping = make_order()
    for position in np.random.default_rng(0).permutation(100).tolist():
        assert jumping.sample_at(position) == straight[position]
    assert pickle.loads(pickle.dumps(order)).sample_at(60) == straight[60]


def test_alternate__is_spread_and_repeatable() -> None:
    order = make_order()
    drawn = {order.alternate(5, attempt) for attempt in range(200)}
    assert drawn == set((np.arange(25) * 2).tolist())
    assert order.alternate(5, 0) == make_order().alternate(5, 0)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("micro_batch", [1, 2, 4])
def test_micro_batches__cover_each_step_once(world: int, micro_batch: int) -> None:
    num_micro = 24 // (world * micro_batch)
    for step in (0, 7):
        shares = [
            [
                position
                for micro in range(num_micro)
                for position in micro_batch_positions(
                    step, micro, global_batch=24, micro_batch=micro_batch, rank=rank, world=world
                )
            ]
            for rank in range(world)
        ]
        assert list(chain(*shares)) == list(range(24 * step, 24 * step + 24)), (
            "ranks take contiguous shares in order"
        )


def test_sampler__goes_on_where_it_was() -> None:
    sizes = {"global_batch": 8, "micro_batch": 2, "rank": 1, "world": 2}
    straight = iter(MicroBatchSampler(0, **sizes))
    batches = [next(straight) for _ in range(12)]
    assert batches[:3] == [[4, 5], [6, 7], [12, 13]]
    resumed = iter(MicroBatchSampler(32, **sizes))
    assert [next(resumed) for _ in range(4)] == batches[8:]
    with pytest.raises(ValueError, match="not the start of a step"):
        MicroBatchSampler(30, **sizes)


@pytest.mark.parametrize(
    ("global_batch", "micro_batch", "world", "fits"),
    [(100, 16, 2, "96 or 128"), (8, 16, 1, "16"), (0, 4, 1, "4")],
)
def test_batch_sizes__names_the_nearest_fits(
    global_batch: int, micro_batch: int, world: int, fits: str
) -> None:
    with pytest.raises(ConfigError, match=f"such as {fits}\\."):
        check_batch_sizes(global_batch, micro_batch, world)
    check_batch_sizes(int(fits.split(" ")[0]), micro_batch, world)
