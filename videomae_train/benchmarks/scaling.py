"""How the time of a training step grows, beside how its arithmetic grows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from videomae_train.benchmarks.alternating import Spread, in_turn
from videomae_train.benchmarks.contenders import (
    MASK_RATIO,
    Contender,
    Kind,
    our_model,
    synthetic_batch,
    training_step,
)
from videomae_train.benchmarks.measuring import timed
from videomae_train.benchmarks.ranks import seconds_of_ranks, threads_of_rank
from videomae_train.benchmarks.sizes import SIZES
from videomae_train.evaluation.number_format import PrecisionName
from videomae_train.model import VideoMAEConfig
from videomae_train.training.speed import clip_flops

TOLERANCE = 1.1
"""Times what the arithmetic says, past which growth is called worse than linear."""

_WARM_UP_STEPS = 2
_PATCHES_A_SIDE = 8  # running cells want an even number
_LARGER = {"tiny": "small", "small": "base", "base": "large"}


@dataclass(frozen=True)
class Setting:
    """One step.

    Attributes:
        size: A key of `SIZES`.
        frames: Of a clip.
        side: Of a clip, in patches.
        batch: Clips.
        ratio: Share of hidden tokens.
        kind: Of decoder.
    """

    size: str
    frames: int = 8
    side: int = _PATCHES_A_SIDE
    batch: int = 2
    ratio: float = MASK_RATIO
    kind: Kind = "joint"

    @property
    def config(self) -> VideoMAEConfig:
        """The architecture, for such clips."""
        config = SIZES[self.size]
        return replace(config, num_frames=self.frames, image_size=self.side * config.patch_size)

    def step(self, precision: PrecisionName, device: torch.device) -> Callable[[], None]:
        """Build the step and take it a few times."""
        batch = synthetic_batch(self.config, self.kind, self.batch, device, self.ratio)
        step = training_step(Contender(self.kind, precision, compile=False), self.config, batch)
        for _ in range(_WARM_UP_STEPS):
            step()
        return step

    def flops(self) -> int:
        """Count the operations of the step."""
        batch = synthetic_batch(self.config, self.kind, 1, torch.device("cpu"), self.ratio)
        return self.batch * clip_flops(our_model(self.config, self.kind), batch)


@dataclass(frozen=True)
class ScalingOptions:
    """What is measured.

    Attributes:
        size: A key of `SIZES`, of every row but one.
        rounds: Turns of every row; at least 1.
        precision: Format.
        device: "cpu" or "cuda".
        ranks: Processes of the last row; 1 for no such row. They are measured on a CPU only.
    """

    size: str
    rounds: int
    precision: PrecisionName
    device: str
    ranks: int


@dataclass(frozen=True)
class ScalingRow:
    """One step beside the base.

    Attributes:
        axis: What differs from the base; "base" for itself.
        value: Its value.
        step_ms: Milliseconds of a step.
        flops: Of a step, over all ranks.
        growth: Times the base's operations; of ranks, operations on each thread.
        of_expected: Its time over what the base's time and the growth would make, round by round.
    """

    axis: str
    value: str
    step_ms: Spread
    flops: int
    growth: float
    of_expected: Spread

    @property
    def is_worse_than_linear(self) -> bool:
        """Whether more arithmetic took clearly more than its share of time: with all but a quarter of the rounds."""
        return self.growth > 1 and self.of_expected.low > TOLERANCE


@dataclass(frozen=True)
class Scaling:
    """All rows, and under which conditions."""

    options: ScalingOptions
    threads: int
    rows: Sequence[ScalingRow] = field(default_factory=tuple)

    def verdicts(self) -> Mapping[str, str]:
        """Say of each axis how time grows with arithmetic."""
        verdicts: dict[str, str] = {}
        for row in self.rows[1:]:
            bad = f"worse than linear at {row.value}: {row.of_expected.median:.2f} times what the arithmetic says"
            if row.is_worse_than_linear:
                verdicts[row.axis] = bad
            verdicts.setdefault(row.axis, "no worse than linear")
        return verdicts


def settings(size: str) -> dict[tuple[str, str], Setting]:
    """List the steps that are compared, by axis and value; the first is the base."""
    base = Setting(size)
    patch = SIZES[size].patch_size
    rows = {("base", f"{base.batch} x {base.frames} x {base.side * patch}"): base}
    rows |= {("clips", str(n)): replace(base, batch=n) for n in (4, 8)}
    rows |= {("frames", str(n)): replace(base, frames=n) for n in (16, 32)}
    rows |= {("side", str(n * patch)): replace(base, side=n) for n in (10, 14)}
    rows |= {("hidden", f"{ratio:.0%}"): replace(base, ratio=ratio) for ratio in (0.95, 0.75)}
    kinds: tuple[Kind, ...] = ("dual", "cross")
    rows |= {("decoder", kind): replace(base, kind=kind) for kind in kinds}
    if size in _LARGER:
        rows["size", _LARGER[size]] = replace(base, size=_LARGER[size])
    return rows


def measure_scaling(options: ScalingOptions) -> Scaling:
    """Measure all rows in turn; ranks afterwards, beside a single one that runs as they do."""
    device = torch.device(options.device)
    rows = settings(options.size)
    steps = {
        f"{axis} {value}": timed(setting.step(options.precision, device), device)
        for (axis, value), setting in rows.items()
    }
    seconds = in_turn(steps, options.rounds).seconds
    flops = {name: setting.flops() for name, setting in rows.items()}
    base = next(iter(rows))
    before = seconds[" ".join(base)]
    found = [
        _row(row, seconds[" ".join(row)], before, flops[row], growth=flops[row] / flops[base]) for row in rows
    ]
    if options.ranks > 1 and options.device == "cpu":
        found.append(_ranks_row(options, rows[base], flops[base]))
    return Scaling(options, torch.get_num_threads(), found)


def _row(
    row: tuple[str, str], seconds: np.ndarray, before: np.ndarray, flops: int, *, growth: float
) -> ScalingRow:
    of_expected = Spread.of(seconds / before / growth)
    return ScalingRow(*row, Spread.of(1000 * seconds), flops, growth, of_expected)


def _ranks_row(options: ScalingOptions, base: Setting, flops: int) -> ScalingRow:
    """Let ranks share the threads: each has the base's arithmetic, and so many times fewer threads for it."""
    one, several = (
        seconds_of_ranks(ranks, base.config, base.batch, options.precision, options.rounds)
        for ranks in (1, options.ranks)
    )
    growth = torch.get_num_threads() / threads_of_rank(options.ranks)
    return _row(("ranks", str(options.ranks)), several, one, options.ranks * flops, growth=growth)
