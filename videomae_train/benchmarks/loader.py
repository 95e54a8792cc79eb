"""How fast clips come out of the data path, and where the time goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from videomae_train.benchmarks.alternating import Rounds, Spread, in_turn
from videomae_train.benchmarks.straightforward import ClipShape, StageSeconds, load_clip
from videomae_train.data.datasets import PretrainDataset
from videomae_train.data.decoding import decode_frames
from videomae_train.data.sampling import sample_window, stride_of_interval

BASELINE = "straightforward"


@dataclass(frozen=True)
class PathReport:
    """One way of loading, measured.

    Attributes:
        name: Of the way.
        views_per_sec: Clips per second of processor time: what one core gives.
        speedup: Times the straightforward loader's, round by round.
        read_share: Of the processor time, spent reading bytes and checking them.
        decode_share: Spent decoding.
        transform_share: Spent on crops, resizing, masks and the rest.
        wait_share: Of a stand-in training step's wall time, spent waiting for a loader's process; None where not
            measured.
    """

    name: str
    views_per_sec: Spread
    speedup: Spread
    read_share: float
    decode_share: float
    transform_share: float
    wait_share: float | None = None


class LoaderBenchmark:
    """Ways of loading the same videos, timed in turn.

    Args:
        files: The original videos, for the straightforward loader.
        num_frames: Frames of each of them.
        shape: Of a clip.
        datasets: Name -> data set of ours over the same videos, packed one way or another.
    """

    def __init__(
        self,
        files: Sequence[Path],
        num_frames: Sequence[int],
        shape: ClipShape,
        datasets: dict[str, PretrainDataset],
    ) -> None:
        self._files, self._num_frames, self._shape, self._datasets = files, num_frames, shape, datasets

    def run(self, rounds: int) -> list[PathReport]:
        """Measure; each round takes one clip of every video on each way."""
        stages: dict[str, list[StageSeconds]] = {}
        ways = {name: self._ours(dataset) for name, dataset in self._datasets.items()}
        contenders = {
            name: _keep(stages.setdefault(name, []), way)
            for name, way in {BASELINE: self._straightforward, **ways}.items()
        }
        for way in contenders.values():  # file caches, lazily imported libraries
            way(0)
        for kept in stages.values():
            kept.clear()
        timings = in_turn(contenders, rounds)
        return [self._report(name, timings, stages[name]) for name in contenders]

    def _straightforward(self, number: int) -> StageSeconds:
        parts = [
            load_clip(file, frames, self._shape, seed=number)[1]
            for file, frames in zip(self._files, self._num_frames, strict=True)
        ]
        return _sum(parts)

    def _ours(self, dataset: PretrainDataset) -> Callable[[int], StageSeconds]:
        def one_epoch(number: int) -> StageSeconds:
            size = len(dataset.order)
            return _sum([clip_stages(dataset, place) for place in range(number * size, (number + 1) * size)])

        return one_epoch

    def _report(self, name: str, timings: Rounds, stages: Sequence[StageSeconds]) -> PathReport:
        views = self._datasets[name].options.views if name in self._datasets else 1
        per_round = len(self._files) * views
        base_views = len(self._files)
        speedup = (timings.seconds[BASELINE] / base_views) / (timings.seconds[name] / per_round)
        total = _sum(stages)
        return PathReport(
            name=name,
            views_per_sec=Spread.of(per_round / timings.seconds[name]),
            speedup=Spread.of(speedup),
            read_share=total.read / total.total,
            decode_share=total.decode / total.total,
            transform_share=total.transform / total.total,
        )


def clip_stages(dataset: PretrainDataset, position: int) -> StageSeconds:
    """Make the clips of a position, and measure reading and decoding alone beside it; processor seconds.

    The second decode is of another window of the same length; over many videos the two cost the same.
    """
    began = time.process_time()
    sample_id = dataset[position].sample_id
    made = time.process_time()
    packed = dataset.selection.dataset
    content = packed.read_bytes(sample_id)
    read = time.process_time()
    decode_window(dataset, sample_id, content, position)
    return _within(made - began, read - made, time.process_time() - read)


def decode_window(dataset: PretrainDataset, sample_id: int, content: bytes, seed: int) -> None:
    """Decode a random window of a video, in the set's pace, from its content or another encoding of it."""
    packed, options = dataset.selection.dataset, dataset.options
    frames, fps = int(packed.num_frames[sample_id]), float(packed.fps[sample_id])
    stride = dataset.strides[packed.set_name(sample_id)]
    if stride is None:
        assert options.frame_interval_sec is not None, "the options were checked for a pace"
        pace = stride_of_interval(options.frame_interval_sec, fps)
    else:
        pace = stride
    window = sample_window(frames, options.num_frames, pace, np.random.default_rng(seed))
    decode_frames(content, window, where=packed.where(sample_id), num_frames=frames)


def _within(whole: float, read: float, decode: float) -> StageSeconds:
    """Split a clip's seconds; a part that was measured longer than the whole is cut to it."""
    read = min(read, whole)
    decode = min(decode, whole - read)
    return StageSeconds(read, decode, whole - read - decode)


def share_of_waiting(batches: Iterator[object], num_batches: int, step_sec: float) -> float:
    """Consume batches as a training step of a given length would, and say which share of the time it waits.

    Args:
        batches: An endless loader's iterator.
        num_batches: How many to take after the first, which starts the processes.
        step_sec: Seconds that the step computes; slept here, as a GPU leaves the processor alone.
    """
    next(batches)
    waited, began = 0.0, time.perf_counter()
    for _ in range(num_batches):
        time.sleep(step_sec)
        asked = time.perf_counter()
        next(batches)
        waited += time.perf_counter() - asked
    return waited / (time.perf_counter() - began)


def _keep(kept: list[StageSeconds], way: Callable[[int], StageSeconds]) -> Callable[[int], float]:
    def timed(number: int) -> float:
        stages = way(number)
        kept.append(stages)
        return stages.total

    return timed


def _sum(parts: Sequence[StageSeconds]) -> StageSeconds:
    return StageSeconds(
        read=sum(part.read for part in parts),
        decode=sum(part.decode for part in parts),
        transform=sum(part.transform for part in parts),
    )
