"""The endless order of training: which video stands at which position.

Epochs follow each other without a seam. Optimizer step s takes positions [s * G, (s + 1) * G) for a global
batch of G videos, so that "the next position" is all the state there is, on any number of ranks and workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from itertools import count

import numpy as np
from torch.utils.data import Sampler

from videomae_train.errors import ConfigError
from videomae_train.randomness import keyed_permutation, philox_key


class EpochOrder:
    """Permutes a selection anew in each epoch, keeping reads local.

    Shards are permuted, then videos inside windows of consecutive shards. The order is a pure function of its
    arguments; a golden test pins it.

    Args:
        sample_ids: int64 (n,), rows of the index, in index order.
        shard_numbers: Integer (n,), the shard of each of them.
        fingerprint: Of the selection.
        seed: The run's seed.
        window_videos: A window closes with the shard that brings it to this many videos; what is left at the end of
            the epoch joins the last window.
    """

    def __init__(
        self,
        sample_ids: np.ndarray,
        shard_numbers: np.ndarray,
        *,
        fingerprint: str,
        seed: int,
        window_videos: int,
    ) -> None:
        if len(sample_ids) == 0:
            raise ValueError("an order needs at least one video")
        self.sample_ids = sample_ids
        self.fingerprint = fingerprint
        self.seed = seed
        self.window_videos = window_videos
        # Places of each shard's videos in sample_ids; shards in rising order.
        by_shard = np.argsort(shard_numbers, kind="stable")
        bounds = np.flatnonzero(np.diff(shard_numbers[by_shard])) + 1
        self._shards = np.split(by_shard, bounds)
        self._cached: dict[int, np.ndarray] = {}

    @property
    def layout(self) -> str:
        """Digest of which rows of the index lie together in a shard: 16 hexadecimal digits.

        The same videos cut into other shards have the same fingerprint, and another order.
        """
        digest = blake2b(digest_size=8)
        for shard in self._shards:
            digest.update(len(shard).to_bytes(8, "little"))
            digest.update(self.sample_ids[shard].astype("<i8").tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.sample_ids)

    def sample_at(self, position: int) -> tuple[int, int]:
        """Say which epoch and which video (row of the index) a position means."""
        epoch, place = divmod(position, len(self))
        return epoch, int(self.epoch(epoch)[place])

    def epoch(self, epoch: int) -> np.ndarray:
        """List the videos of an epoch in order, int64 (n,); the latest two epochs asked for are kept."""
        if epoch not in self._cached:
            while len(self._cached) > 1:
                del self._cached[next(iter(self._cached))]
            self._cached[epoch] = self._permute(epoch)
        return self._cached[epoch]

    def alternate(self, position: int, attempt: int) -> int:
        """Name the video that stands in for an unreadable one, a pure function of the place and the attempt."""
        epoch = position // len(self)
        key = philox_key(self.seed, epoch, self.fingerprint, position, attempt, "alternate")
        return int(self.sample_ids[int(np.random.Philox(key=key).random_raw()) % len(self)])

    def _permute(self, epoch: int) -> np.ndarray:
        key = (self.seed, epoch, self.fingerprint)
        shards = [self._shards[s] for s in keyed_permutation(len(self._shards), *key, "shards").tolist()]
        windows = [
            window[keyed_permutation(len(window), *key, "window", number)]
            for number, window in enumerate(self._windows(shards))
        ]
        return self.sample_ids[np.concatenate(windows)]

    def _windows(self, shards: list[np.ndarray]) -> list[np.ndarray]:
        """Join consecutive shards to windows of at least `window_videos` (if there are so many)."""
        windows: list[list[np.ndarray]] = [[]]
        for shard in shards:
            if sum(map(len, windows[-1])) >= self.window_videos:
                windows.append([])
            windows[-1].append(shard)
        if len(windows) > 1 and sum(map(len, windows[-1])) < self.window_videos:
            rest = windows.pop()
            windows[-1] += rest
        return [np.concatenate(window) for window in windows]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_cached": {}}


def check_batch_sizes(global_batch: int, micro_batch: int, world: int) -> None:
    """Refuse a global batch that ranks and micro-batches do not divide.

    Raises:
        ConfigError: It is not a multiple of world * micro_batch; names the nearest that are.
    """
    unit = world * micro_batch
    if global_batch <= 0 or global_batch % unit:
        below, above = global_batch // unit * unit, (global_batch // unit + 1) * unit
        fits = f"{below} or {above}" if below > 0 else str(above)
        fitting = [
            size for size in range(1, micro_batch) if global_batch > 0 and global_batch % (world * size) == 0
        ]
        todo = (
            f"trainer.micro_batch={fitting[-1]} divides it and leaves the recipe as it is."
            if fitting
            else "Change the global batch or the number of ranks."
        )
        raise ConfigError(
            where="optim.global_batch",
            came=f"{global_batch} videos per step, on {world} ranks in micro-batches of {micro_batch}",
            expected=f"a multiple of {world} x {micro_batch} = {unit}, such as {fits}",
            todo=todo,
        )


def micro_batch_positions(
    step: int, micro: int, *, global_batch: int, micro_batch: int, rank: int, world: int
) -> range:
    """List the positions of one micro-batch.

    Rank i of R takes the i-th contiguous share of the step's positions, its micro-batches contiguous parts
    of that.

    Args:
        step: Optimizer step, from 0.
        micro: Micro-batch of the step on this rank, from 0.
        global_batch: Videos per step on all ranks, a multiple of world * micro_batch.
        micro_batch: Videos per micro-batch.
        rank: This rank.
        world: Number of ranks.

    >>> [list(micro_batch_positions(1, m, global_batch=8, micro_batch=2, rank=1, world=2)) for m in (0, 1)]
    [[12, 13], [14, 15]]
    """
    start = step * global_batch + rank * (global_batch // world) + micro * micro_batch
    return range(start, start + micro_batch)


class MicroBatchSampler(Sampler[list[int]]):
    """Yields the positions of micro-batch after micro-batch, without end.

    Args:
        next_position: Where to go on; a multiple of the global batch.
        global_batch: Videos per step on all ranks.
        micro_batch: Videos per micro-batch.
        rank: This rank.
        world: Number of ranks.

    Raises:
        ConfigError: The batch sizes do not fit.
    """

    def __init__(
        self, next_position: int, *, global_batch: int, micro_batch: int, rank: int, world: int
    ) -> None:
        check_batch_sizes(global_batch, micro_batch, world)
        if next_position % global_batch:
            raise ValueError(f"position {next_position} is not the start of a step of {global_batch} videos")
        self.first_step = next_position // global_batch
        self.global_batch, self.micro_batch = global_batch, micro_batch
        self.rank, self.world = rank, world

    def __iter__(self) -> Iterator[list[int]]:
        num_micro = self.global_batch // (self.world * self.micro_batch)
        for step in count(self.first_step):
            for micro in range(num_micro):
                yield list(
                    micro_batch_positions(
                        step,
                        micro,
                        global_batch=self.global_batch,
                        micro_batch=self.micro_batch,
                        rank=self.rank,
                        world=self.world,
                    )
                )
