"""`videomae bench step` as text, for machines with torch, timm and this folder alone.

python -m videomae_train.benchmarks.step --size base --batch 32 --device cuda --compile --json step.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast, get_args

import torch

from videomae_train.benchmarks.alternating import Spread
from videomae_train.benchmarks.contenders import Kind
from videomae_train.benchmarks.measuring import StepComparison, StepOptions, StepReport, compare_steps
from videomae_train.benchmarks.sizes import SIZES
from videomae_train.errors import ConfigError, VideoMAETrainError
from videomae_train.evaluation.number_format import PrecisionName

COLUMNS = ("step", "ms", "clips/s", "times", "GiB", "GFLOP", "peak")  # 80 characters in all
KINDS: tuple[Kind, ...] = get_args(Kind)
DEVICES = ("auto", "cpu", "cuda")


def step_options(
    *,
    size: str,
    batch: int,
    rounds: int,
    precision: str | None,
    compile: bool,
    device: str,
    only: str | None,
    memory: bool,
) -> StepOptions:
    """Read what the command line says.

    Args:
        size: A key of `SIZES`.
        batch: Clips of a step, at least 1.
        rounds: At least 1.
        precision: Formats separated by commas; None means fp32, and bf16 too on a GPU.
        compile: Measure compiled steps too.
        device: "auto" takes a GPU where there is one.
        only: Kinds separated by commas; None means all.
        memory: Measure peak memory too.

    Raises:
        ConfigError: A format or kind is unknown, or there is no GPU.
    """
    chosen = chosen_device(device)
    formats = precision or ("fp32,bf16" if chosen == "cuda" else "fp32")
    return StepOptions(
        size=size,
        batch=batch,
        rounds=rounds,
        kinds=cast("tuple[Kind, ...]", _chosen("--only", only or ",".join(KINDS), KINDS)),
        precisions=cast("tuple[PrecisionName, ...]", _chosen("--precision", formats, ("fp32", "bf16"))),
        compile=compile,
        device=chosen,
        memory=memory,
    )


def chosen_device(device: str) -> str:
    """Say what is measured: "cpu" or "cuda"; "auto" takes a GPU where there is one.

    Raises:
        ConfigError: There is no GPU.
    """
    gpu = torch.cuda.is_available()
    if device == "cuda" and not gpu:
        raise ConfigError(
            where="--device",
            came="cuda",
            expected="a GPU that PyTorch can use",
            todo="Look at nvidia-smi and at how PyTorch was installed, or give --device cpu.",
        )
    return ("cuda" if gpu else "cpu") if device == "auto" else device


def _chosen(option: str, names: str, offered: Sequence[str]) -> tuple[str, ...]:
    given = [name.strip() for name in names.split(",")]
    unknown = [name for name in given if name not in offered]
    if unknown:
        raise ConfigError(
            where=option,
            came=", ".join(map(repr, unknown)),
            expected=f"names out of {', '.join(offered)}, separated by commas",
            todo=f"Give {option} {','.join(offered[:2])}, for instance.",
        )
    return tuple(dict.fromkeys(given))


def cells(row: StepReport) -> list[str]:
    """Write a row's figures under `COLUMNS`; empty where there are none."""
    if row.step_ms is None or row.clips_per_sec is None:
        return [row.name, row.missing or "", *[""] * (len(COLUMNS) - 2)]
    return [
        row.name,
        spread_text(row.step_ms),
        figure(row.clips_per_sec.median),
        "" if row.times_transformers is None else spread_text(row.times_transformers),
        "" if row.peak_memory_gib is None else f"{row.peak_memory_gib:.2f}",
        "" if row.flops_per_clip is None else figure(row.flops_per_clip / 1e9),
        "" if row.share_of_peak is None else f"{row.share_of_peak:.0%}",
    ]


def figure(value: float) -> str:
    """Write a measured number in three digits, or all that stand before the point.

    >>> figure(2025.4), figure(31.26), figure(1.167)
    ('2025', '31.3', '1.17')
    """
    digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f}"


def spread_text(values: Spread) -> str:
    """Write a median with its quartiles behind it.

    >>> spread_text(Spread(1.15, 1.167, 1.2))
    '1.17 (1.15-1.20)'
    """
    return f"{figure(values.median)} ({figure(values.low)}-{figure(values.high)})"


def title(comparison: StepComparison) -> str:
    """Say what was measured where."""
    options = comparison.options
    return f"Pretraining step, {options.size}, batch {options.batch}, {comparison.device_name}"


def conditions(comparison: StepComparison) -> str:
    """Say how the figures came about, in sentences."""
    options, gpu = comparison.options, comparison.options.device == "cuda"
    peaks = ", ".join(f"{name} {peak / 1e12:.3g}" for name, peak in comparison.matmul_peak.items())
    threads = "" if gpu else f", {comparison.threads} threads"
    if comparison.loss_difference is None:
        agreement = "Not compared with transformers."
    else:
        agreement = (
            "Before timing, the joint decoder and transformers, with the same weights, gave losses"
            f" {comparison.loss_difference:.1e} apart in fp32 (relative)."
        )
    of_what = "tensors" if gpu else "resident memory, a compiler's too; on Linux only"
    return (
        f"{options.rounds} rounds in turn, {comparison.steps_a_turn} steps each, PyTorch"
        f" {comparison.torch_version}{threads}; medians, quartiles in brackets. A step: bytes on the device, loss,"
        " gradients, fused AdamW; 90 % tube masks. dual: running cells, half of the tokens decoded; cross:"
        " cross-attention on a quarter of the hidden ones, cross50 on half. times: transformers' in the same format,"
        " mode and round."
        f" GiB: the most memory of model, optimiser, batch and step in a fresh process ({of_what}). GFLOP: of a clip,"
        f" forward and backward. peak: share of a large matrix product's TFLOP/s, measured here ({peaks}). {agreement}"
    )


def write_json(comparison: StepComparison, file: Path) -> None:
    """Write everything that was measured."""
    file.write_text(json.dumps(asdict(comparison), indent=1) + "\n")


def as_text(comparison: StepComparison) -> str:
    """Lay the table out in plain text, with its title and conditions."""
    lines = [list(COLUMNS), *map(cells, comparison.rows)]
    # A row without figures says why in one long cell, which widens no column.
    figures = [list(COLUMNS), *(cells(row) for row in comparison.rows if row.missing is None)]
    widths = [max(map(len, column)) for column in zip(*figures, strict=True)]
    widths[0] = max(len(line[0]) for line in lines)
    table = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join([title(comparison), "", *table, "", conditions(comparison)])


def main() -> None:
    """Measure and print; a wrong request is one message and exit code 2."""
    parser = argparse.ArgumentParser(description="Measure the pretraining step on synthetic clips.")
    parser.add_argument("--size", choices=tuple(SIZES), default="small")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--precision", metavar="NAMES", help="fp32, bf16 or both, separated by a comma")
    parser.add_argument("--compile", action="store_true", help="measure compiled steps too")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--only", metavar="NAMES", help=f"some of {', '.join(KINDS)}")
    parser.add_argument("--no-memory", dest="memory", action="store_false")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = vars(parser.parse_args())
    file: Path | None = given.pop("json")
    try:
        comparison = compare_steps(step_options(**given))
    except VideoMAETrainError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(as_text(comparison))
    if file is not None:
        write_json(comparison, file)


if __name__ == "__main__":
    main()
