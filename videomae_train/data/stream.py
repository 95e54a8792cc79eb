"""Where a training run stands in its order: the whole state of its data."""

from __future__ import annotations

from typing import Any

from videomae_train.data.index import Selection
from videomae_train.data.order import EpochOrder, MicroBatchSampler
from videomae_train.errors import CheckpointError, ConfigError

_MIN_BATCHES_PER_WINDOW = 4


class TrainingStream:
    """The order of a training run and how far it has come.

    Args:
        selection: The videos.
        seed: The run's seed.
        window_videos: Videos that are shuffled together.
        global_batch: Videos per step on all ranks.
        micro_batch: Videos per micro-batch on one rank.

    Raises:
        ConfigError: The window is too small to mix global batches.
    """

    def __init__(
        self, selection: Selection, *, seed: int, window_videos: int, global_batch: int, micro_batch: int
    ) -> None:
        _check_window(window_videos, global_batch, len(selection))
        self.order = EpochOrder(
            selection.sample_ids,
            selection.shard_numbers,
            fingerprint=selection.fingerprint,
            seed=seed,
            window_videos=window_videos,
        )
        self.global_batch = global_batch
        self.micro_batch = micro_batch
        self.next_position = 0

    def sampler(self, rank: int, world: int) -> MicroBatchSampler:
        """List the micro-batches of a rank from the next position on."""
        return MicroBatchSampler(
            self.next_position,
            global_batch=self.global_batch,
            micro_batch=self.micro_batch,
            rank=rank,
            world=world,
        )

    def advance(self, num_videos: int) -> None:
        """Count the videos of a finished step, on all ranks together."""
        self.next_position += num_videos

    def state_dict(self) -> dict[str, int | str]:
        """Say where the run is and in which order."""
        return {"next_position": self.next_position, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another run was.

        Raises:
            CheckpointError: That run had other videos or another order.
        """
        for name, value in self._identity().items():
            # Checkpoints of earlier versions say nothing of the layout.
            if state.get(name, value) != value:
                raise CheckpointError(
                    where=f"data.{name} in the checkpoint",
                    came=str(state[name]),
                    expected=f"{value}, as this run has it",
                    todo="Resume with the data, seed and batch of the checkpoint, or start a new run."
                    + (" The same videos in other shards are another order." if name == "layout" else ""),
                )
        self.next_position = state["next_position"]

    def _identity(self) -> dict[str, int | str]:
        return {
            "fingerprint": self.order.fingerprint,
            "layout": self.order.layout,
            "seed": self.order.seed,
            "shuffle_window_videos": self.order.window_videos,
            "global_batch": self.global_batch,
        }


def _check_window(window_videos: int, global_batch: int, num_videos: int) -> None:
    least = _MIN_BATCHES_PER_WINDOW * global_batch
    if window_videos < min(least, num_videos):
        raise ConfigError(
            where="data.shuffle_window_videos",
            came=f"{window_videos} with a global batch of {global_batch}",
            expected=f"at least {_MIN_BATCHES_PER_WINDOW} global batches, {least}",
            todo="Raise it; larger windows shuffle better and read less locally.",
        )
