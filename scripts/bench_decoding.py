"""Decode and crop the clips of a pretraining in one thread, in threads, and in a loader's processes, in turn.

python scripts/bench_decoding.py experiment=pretrain_tiny data.path=$SET --workers 2 --clips 200 --rounds 7

Clips/s are of wall time; "times" is the speed over one thread's, round by round. Every way makes the same clips.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from videomae_train.benchmarks.alternating import Spread, in_turn
from videomae_train.benchmarks.step import spread_text
from videomae_train.config import build
from videomae_train.config.loader import compose_config, load_config
from videomae_train.config.schema import PretrainConfig
from videomae_train.data.loader import collate_pretrain, make_loader

BASELINE = "one thread"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="+", help="of videomae pretrain")
    parser.add_argument("--workers", type=int, default=2, help="threads, and processes")
    parser.add_argument("--clips", type=int, default=200, help="videos decoded in each turn")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    ways = contenders(given.overrides, given.workers, given.clips)
    rounds = in_turn(ways, given.rounds)
    for name in ways:
        rate = Spread.of(given.clips / rounds.seconds[name])
        print(f"{name:14} {spread_text(rate)} videos/s   {spread_text(rounds.ratio(name, BASELINE))} times")


def contenders(overrides: Sequence[str], workers: int, clips: int) -> dict[str, Callable[[int], float]]:
    """Give the ways: each takes its turn's number and gives the seconds of `clips` videos, its start included."""
    words = [*overrides, "run=nowhere", f"loader.num_workers={workers}"]
    config = load_config("pretrain", compose_config("pretrain", words), PretrainConfig)
    data = build.pretrain_data(config)

    def places(turn: int) -> range:
        return range(turn * clips, (turn + 1) * clips)

    def one_thread(turn: int) -> None:
        for place in places(turn):
            data.dataset[place]

    def threads(turn: int) -> None:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(data.dataset.__getitem__, places(turn)))

    def processes(turn: int) -> None:
        batches = [list(batch) for batch in batched(places(turn), data.stream.micro_batch)]
        list(make_loader(data.dataset, collate_pretrain, batches, data.loader))

    ways = {BASELINE: one_thread, f"{workers} threads": threads, f"{workers} processes": processes}
    return {name: timed(way) for name, way in ways.items()}


def timed(way: Callable[[int], None]) -> Callable[[int], float]:
    def seconds(turn: int) -> float:
        began = time.perf_counter()
        way(turn)
        return time.perf_counter() - began

    return seconds


def batched(places: range, size: int) -> list[range]:
    return [places[start : start + size] for start in range(0, len(places), size)]


if __name__ == "__main__":
    main()
