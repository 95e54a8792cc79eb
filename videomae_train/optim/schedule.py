"""The published learning-rate schedule as a function of the optimizer step."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class WarmupCosine:
    """Linear warm-up to a peak, then half a cosine to a floor, one value per optimizer step.

    As the published system computes it: the warm-up runs from exactly 0 at step 0 to the peak at step W - 1; the
    cosine starts at step W, at the peak again, and its last step stays one step short of the floor.

    Args:
        peak: Highest learning rate, already scaled by the batch.
        floor: Learning rate that the cosine runs towards, already scaled by the batch.
        warmup_steps: W >= 0.
        total_steps: Optimizer steps of the whole run, > W.
    """

    peak: float
    floor: float
    warmup_steps: int
    total_steps: int

    def __call__(self, step: int) -> float:
        """Return the learning rate of optimizer step `step`, 0 <= step < total_steps.

        >>> schedule = WarmupCosine(peak=1.0, floor=0.0, warmup_steps=3, total_steps=7)
        >>> [round(schedule(step), 3) for step in range(7)]
        [0.0, 0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
        """
        assert 0 <= step < self.total_steps, f"step {step} lies outside the {self.total_steps} planned steps"
        if step < self.warmup_steps:
            return self.peak * step / max(1, self.warmup_steps - 1)
        progress = (step - self.warmup_steps) / (self.total_steps - self.warmup_steps)
        return self.floor + 0.5 * (self.peak - self.floor) * (1 + math.cos(math.pi * progress))
