"""Verbs that measure this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from videomae_train.cli.options import RealRange


@click.group()
def bench() -> None:
    """Measure this machine: training steps, or ways of loading clips, in turn; medians with their spread."""


@bench.command("step")
@click.option(
    "--size", type=click.Choice(["tiny", "small", "base", "large"]), default="small", show_default=True
)
@click.option("--batch", type=click.IntRange(1), default=2, show_default=True, help="Clips of a step.")
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True, help="Turns of every step.")
@click.option(
    "--precision",
    metavar="NAMES",
    help="fp32, bf16 or both, separated by a comma.  [default: both on a GPU, else fp32]",
)
@click.option("--compile", is_flag=True, help="Measure compiled steps beside the eager ones.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option(
    "--only",
    metavar="NAMES",
    help="Some of joint, dual, cross, cross50, transformers, separated by commas.",
)
@click.option("--memory/--no-memory", default=True, help="Measure peak memory, in a process for each row.")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="Write the figures."
)
def bench_step(
    size: str,
    batch: int,
    rounds: int,
    precision: str | None,
    compile: bool,
    device: str,
    only: str | None,
    memory: bool,
    json_file: Path | None,
) -> None:
    """Run whole training steps on synthetic clips: ours with each decoder, beside transformers' model."""
    from videomae_train.benchmarks.step import step_options
    from videomae_train.commands.bench_step import run_bench_step

    options = step_options(
        size=size,
        batch=batch,
        rounds=rounds,
        precision=precision,
        compile=compile,
        device=device,
        only=only,
        memory=memory,
    )
    run_bench_step(options, json_file)


@bench.command("loader")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=7,
    show_default=True,
    help="Clips that every way loads of each video.",
)
@click.option(
    "--videos",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Use so many videos of SOURCE at most.",
)
@click.option(
    "--short-side",
    type=click.IntRange(16),
    default=256,
    show_default=True,
    help="Short side of the videos encoded anew.",
)
@click.option(
    "--step-ms",
    type=RealRange(0),
    default=250.0,
    show_default=True,
    help="Length of the training step that waits for clips.",
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="Write the figures."
)
def bench_loader(
    source: Path,
    overrides: tuple[str, ...],
    rounds: int,
    videos: int,
    short_side: int,
    step_ms: float,
    json_file: Path | None,
) -> None:
    """Load clips of the videos in folder SOURCE, beside the kind of loader that people write first.

    OVERRIDES are those of pretrain, such as model=tiny data.stride=2. SOURCE is packed into a temporary folder, once as
    it is and once encoded anew.
    """
    from videomae_train.commands.bench_loader import LoaderBenchOptions, run_bench_loader

    run_bench_loader(source, LoaderBenchOptions(rounds, videos, short_side, overrides, step_ms), json_file)


@bench.command("run", context_settings={"ignore_unknown_options": True})
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Turns of every part.")
@click.option("--seconds", type=RealRange(0), default=5.0, show_default=True, help="Of each part's turn.")
@click.option(
    "--packing-videos",
    type=click.IntRange(0),
    default=2,
    show_default=True,
    help="Videos encoded anew, to see what another packing brings.",
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="Write the figures."
)
def bench_run(
    overrides: tuple[str, ...], rounds: int, seconds: float, packing_videos: int, json_file: Path | None
) -> None:
    """Pretrain for a short time, and say what it waits for and how long the whole would take.

    OVERRIDES are those of pretrain: videomae bench run experiment=pretrain_tiny data.path=SET. Nothing is kept of it.
    """
    from videomae_train.commands.bench_run import RunBenchOptions, run_bench_run

    run_bench_run(overrides, RunBenchOptions(rounds, seconds, packing_videos), json_file)


@bench.command("scaling")
@click.option(
    "--size", type=click.Choice(["tiny", "small", "base", "large"]), default="small", show_default=True
)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Turns of every step.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option(
    "--ranks",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Processes that share a CPU; 1 for none.",
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="Write the figures."
)
def bench_scaling(
    size: str,
    rounds: int,
    precision: Literal["fp32", "bf16"],
    device: str,
    ranks: int,
    json_file: Path | None,
) -> None:
    """Run steps of more clips, frames, pixels, tokens, ranks or weights, beside what their arithmetic says."""
    from videomae_train.benchmarks.scaling import ScalingOptions
    from videomae_train.benchmarks.step import chosen_device
    from videomae_train.commands.bench_scaling import run_bench_scaling

    run_bench_scaling(ScalingOptions(size, rounds, precision, chosen_device(device), ranks), json_file)


@bench.command("predict")
@click.argument("weights", type=click.Path(path_type=Path))
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO...")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Turns of every row.")
@click.option(
    "--workers",
    type=click.IntRange(0),
    metavar="N",
    help="Our processes that decode.  [default: one for each processor, at most 16]",
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="Write the figures."
)
def bench_predict(
    weights: Path, videos: tuple[str, ...], rounds: int, workers: int | None, json_file: Path | None
) -> None:
    """Predictions and features of VIDEO with the folder WEIGHTS, beside transformers' pipeline, on the CPU."""
    from videomae_train.commands.bench_predict import run_bench_predict

    run_bench_predict(weights, videos, rounds, workers, json_file)
