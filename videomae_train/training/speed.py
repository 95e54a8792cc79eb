"""How much arithmetic a clip is, and how much of it the device can do: what throughput is measured against."""

from __future__ import annotations

import resource
import sys
import time
from functools import cache

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from videomae_train.evaluation.number_format import FORMATS, PrecisionName
from videomae_train.training.tasks import TrainedModel
from videomae_train.types import LabeledBatch, PretrainBatch

_PEAK_SIZE = {"cuda": 8192, "cpu": 512}
_PEAK_ROUNDS = 5


def clip_flops(model: TrainedModel, batch: PretrainBatch | LabeledBatch) -> int:
    """Count the floating point operations of one clip, forward and backward, in matrix products and attention.

    Twice the multiplications. What activation checkpointing computes again does not count: it is work, but no
    progress. Counted on the meta device, where nothing is computed, allocated or drawn.

    Args:
        model: What is trained.
        batch: A micro-batch of the run, for its shapes.
    """
    with torch.device("meta"):
        twin = type(model)(model.config).to("meta")
    for ours, its in zip(model.parameters(), twin.parameters(), strict=True):
        its.requires_grad_(ours.requires_grad)  # what is frozen has no backward pass
    with FlopCounterMode(display=False) as counter:
        _meta_loss(twin, batch).backward()
    return counter.get_total_flops()


def _meta_loss(twin: TrainedModel, batch: PretrainBatch | LabeledBatch) -> Tensor:
    clips = batch.clips[:1].to("meta")
    if isinstance(batch, PretrainBatch):
        tokens = (batch.visible_idx, batch.hidden_idx, batch.unscored_idx)
        return twin.training_loss(clips, *(part[:1].to("meta") for part in tokens))  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
    return twin(clips.float()).logits.sum()


@cache
def matmul_peak(device: torch.device, precision: PrecisionName) -> float:
    """Measure the operations per second of one large matrix product: the best of a few, in well under a second.

    What the device does in practice, beside which a share is honest; the makers' figures are higher. Measured once
    in a process for each device and format, with torch's number of threads and its float32 switch as they are then.
    """
    size = _PEAK_SIZE.get(device.type, 1024)
    # A generator of its own: the run's draws stay what they are.
    generator = torch.Generator(device).manual_seed(0)
    factor = torch.randn(size, size, device=device, generator=generator).to(FORMATS[precision])
    seconds = [_timed_product(factor) for _ in range(_PEAK_ROUNDS + 1)][1:]
    return 2 * size**3 / min(seconds)


def _timed_product(factor: Tensor) -> float:
    _wait_for(factor.device)
    began = time.perf_counter()
    torch.mm(factor, factor)
    _wait_for(factor.device)
    return time.perf_counter() - began


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory_gib(device: torch.device) -> float:
    """Read the most memory in use so far, GiB: of tensors on a GPU, of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
