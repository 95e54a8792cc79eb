"""Scoring on several ranks: each takes its share of the videos, rank 0 joins the scores."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.single_device import SingleDeviceStrategy

from videomae_train.child_ranks import raise_for_dead_child, watch_child_ranks
from videomae_train.evaluation.memory import naming_full_memory
from videomae_train.evaluation.scoring import VideoScores, merge_scores
from videomae_train.processes import end_with

# Ranks meet once, at the end: the first to finish waits for the one with the longest videos.
_PATIENCE = timedelta(hours=6)

_FIRST = "VIDEOMAE_FIRST_RANK"  # environment variable; its value is rank 0's process id

T = TypeVar("T")


class Ranks:
    """The processes of an evaluation, started by this command, torchrun or srun.

    Args:
        device: The kind of device of every rank: cpu or cuda.
        devices: Ranks on each node.
        num_nodes: Nodes.
        environment: Who started the processes; Lightning's own guess would wait for ranks that nobody starts.
    """

    def __init__(
        self, device: torch.device, *, devices: int, num_nodes: int, environment: ClusterEnvironment
    ) -> None:
        logging.getLogger("lightning_fabric").setLevel(logging.ERROR)  # how ranks find each other
        warnings.filterwarnings("ignore", message=".*The `srun` command is available")
        on_gpu = device.type == "cuda"
        single = devices * num_nodes == 1
        # torch sets a current GPU by its number only.
        one = torch.device("cuda", 0) if on_gpu else device
        if not single:
            watch_child_ranks()
        self._fabric = Fabric(
            accelerator="cuda" if on_gpu else "cpu",
            devices=devices,
            num_nodes=num_nodes,
            # No gradients are exchanged; and where a rank dies gloo fails at once, while NCCL would wait.
            strategy=SingleDeviceStrategy(one)
            if single
            else DDPStrategy(process_group_backend="gloo", timeout=_PATIENCE),
            plugins=[environment],
        )

    def score(self, one_rank: Callable[[int, int, torch.device], VideoScores]) -> VideoScores | None:
        """Score each rank's share and bring all to rank 0.

        Args:
            one_rank: Scores a share, given the rank, the number of ranks and the rank's device.

        Returns:
            All scores on rank 0, None on the others.

        Raises:
            TrainingError: A video was scored twice, or there is no memory for a batch.
        """
        parts = self.gather(one_rank)
        return None if parts is None else merge_scores(parts)

    def gather(self, one_rank: Callable[[int, int, torch.device], T]) -> list[T] | None:
        """Let each rank make its part, given the rank, the number of ranks and the rank's device.

        Returns:
            All parts in the order of ranks on rank 0, None on the others.

        Raises:
            TrainingError: A rank died that this process started.
        """
        fabric = self._fabric
        os.environ.setdefault(_FIRST, str(os.getpid()))  # ranks that this process starts inherit it
        fabric.launch()
        if (first := int(os.environ.pop(_FIRST))) != os.getpid():
            end_with(first)  # it is told to stop, and it watches
        with naming_full_memory("Lower batch_videos, or data.num_clips and data.num_crops."):
            mine = one_rank(fabric.global_rank, fabric.world_size, fabric.device)
        if fabric.world_size == 1:
            return [mine]
        # Nothing collective happens before this: ranks may have unequal shares, or none.
        parts: list[T | None] = [None] * fabric.world_size
        try:
            torch.distributed.all_gather_object(parts, mine)
        except RuntimeError:  # gloo's, of a rank that is gone
            raise_for_dead_child()
            raise
        return [part for part in parts if part is not None] if fabric.is_global_zero else None
