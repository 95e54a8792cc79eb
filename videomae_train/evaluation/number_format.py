"""Number formats that matrix products of a forward pass may take."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal

import torch

PrecisionName = Literal["fp32", "bf16", "fp16"]

FORMATS: dict[PrecisionName, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def computing_in(precision: PrecisionName, device: torch.device) -> AbstractContextManager[object]:
    """Let matrix products inside a block take a format, by autocast; fp32 computes as the weights are."""
    return torch.autocast(device.type, FORMATS[precision], enabled=precision != "fp32")
