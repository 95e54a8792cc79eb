"""Count what a clip adds to the most bytes of tensors in a training step, ours and transformers', on the CPU.

python scripts/measure_memory.py --size small

Two batch sizes give the slope. PyTorch's profiler counts each allocation; what the allocator itself takes is not in it,
nor weights, gradients and optimiser, which were there before the step.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from videomae_train.benchmarks.contenders import Contender, Kind, synthetic_batch, training_step
from videomae_train.benchmarks.sizes import SIZES
from videomae_train.evaluation.number_format import PrecisionName

KINDS: Sequence[Kind] = ("joint", "dual", "cross", "transformers")
PRECISIONS: Sequence[PrecisionName] = ("fp32", "bf16")
BATCHES = (2, 4)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=tuple(SIZES), default="small")
    size = parser.parse_args().size
    for precision in PRECISIONS:
        growth = {kind: mib_of_clip(size, kind, precision) for kind in KINDS}
        for kind, mib in growth.items():
            print(f"{kind:12} {precision}  {mib:6.1f} MiB a clip  {mib / growth['transformers']:.2f}")


def mib_of_clip(size: str, kind: Kind, precision: PrecisionName) -> float:
    few, many = (peak_mib(size, kind, precision, batch) for batch in BATCHES)
    return (many - few) / (BATCHES[1] - BATCHES[0])


def peak_mib(size: str, kind: Kind, precision: PrecisionName, batch: int) -> float:
    clips = synthetic_batch(SIZES[size], kind, batch, torch.device("cpu"))
    step = training_step(Contender(kind, precision, compile=False), SIZES[size], clips)
    step()  # the optimiser makes its state
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        step()
    assert trace.profiler is not None
    assert trace.profiler.kineto_results is not None
    events: Any = trace.profiler.kineto_results.events()  # its stubs lack nbytes
    changes = sorted((each.start_ns(), each.nbytes()) for each in events if each.name() == "[memory]")
    held = most = 0
    for _, num_bytes in changes:
        held += num_bytes
        most = max(most, held)
    return most / 2**20


if __name__ == "__main__":
    main()
