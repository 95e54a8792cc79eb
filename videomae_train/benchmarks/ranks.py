"""Steps of several ranks on one processor: processes that average their gradients over gloo."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from videomae_train.benchmarks.contenders import our_model, synthetic_batch
from videomae_train.evaluation.number_format import PrecisionName
from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining
from videomae_train.training.precision import Precision

_WARM_UP_STEPS = 2


class _Loss(nn.Module):
    """Makes the loss the forward pass, which is what DDP wraps."""

    def __init__(self, model: VideoMAEForPreTraining) -> None:
        super().__init__()
        self.model = model

    def forward(self, clips: Tensor, visible_idx: Tensor, hidden_idx: Tensor) -> Tensor:
        return self.model.training_loss(clips, visible_idx, hidden_idx)


def seconds_of_ranks(
    ranks: int, config: VideoMAEConfig, batch: int, precision: PrecisionName, rounds: int
) -> np.ndarray:
    """Time steps of ranks that share this process's threads evenly.

    Args:
        ranks: Processes.
        config: The architecture.
        batch: Clips of each rank's step.
        precision: Format.
        rounds: Steps that are timed, after a few that are not.

    Returns:
        float64 (rounds,), seconds of each step, of the slowest rank.
    """
    threads = threads_of_rank(ranks)
    spawn = multiprocessing.get_context("spawn")
    with TemporaryDirectory(prefix="videomae-ranks-") as folder, ProcessPoolExecutor(ranks, spawn) as pool:
        meeting = Path(folder) / "meeting"
        work = [
            pool.submit(_one_rank, rank, ranks, threads, meeting, config, batch, precision, rounds)
            for rank in range(ranks)
        ]
        return np.max([each.result() for each in work], axis=0)


def threads_of_rank(ranks: int) -> int:
    """Say how many of this process's threads each of so many ranks gets."""
    return max(torch.get_num_threads() // ranks, 1)


def _one_rank(
    rank: int,
    ranks: int,
    threads: int,
    meeting: Path,
    config: VideoMAEConfig,
    batch: int,
    precision: PrecisionName,
    rounds: int,
) -> list[float]:
    torch.set_num_threads(threads)
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=ranks, timeout=timedelta(minutes=2)
    )
    cpu = torch.device("cpu")
    clips = synthetic_batch(config, "joint", batch, cpu)
    model = DistributedDataParallel(_Loss(our_model(config, "joint")), gradient_as_bucket_view=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    format = Precision(precision, cpu)
    seconds: list[float] = []
    for _ in range(_WARM_UP_STEPS + rounds):
        dist.barrier()
        began = time.perf_counter()
        with format.autocast():
            loss = model(clips.clips, clips.visible_idx, clips.hidden_idx)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - began)
    dist.destroy_process_group()
    return seconds[_WARM_UP_STEPS:]
