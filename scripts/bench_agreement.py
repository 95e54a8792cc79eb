"""Time what ranks tell each other after every optimizer step: whether a signal came, whether rank 0's clock says save.

torchrun --nproc-per-node 2 scripts/bench_agreement.py
"""

from __future__ import annotations

import time

import numpy as np
import torch.distributed as dist

from videomae_train.training.agreement import Agreement

_QUESTIONS = 2000


def main() -> None:
    dist.init_process_group("gloo")
    agreement = Agreement()
    seconds = np.array([measure(agreement) for _ in range(_QUESTIONS)])
    if dist.get_rank() == 0:
        low, middle, high = np.percentile(seconds * 1e6, [25, 50, 75])
        print(f"{middle:.0f} us a step ({low:.0f} to {high:.0f}) between {dist.get_world_size()} ranks")
    dist.destroy_process_group()


def measure(agreement: Agreement) -> float:
    began = time.perf_counter()
    agreement.largest([0, 0])
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
