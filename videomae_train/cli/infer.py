"""Verbs that take videos as they come: their classes, and their features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from videomae_train.cli.options import timeout_sec
from videomae_train.start_up import importing

if TYPE_CHECKING:  # torch, which help does without
    from videomae_train.evaluation.number_format import PrecisionName


@click.command(short_help="Classify video files.")
@click.argument("weights")
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO...")
@click.option(
    "--top-k", type=click.IntRange(1), default=5, show_default=True, help="Classes named of each video."
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="json is one object in each line.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="Write a file instead of printing."
)
@click.option(
    "--clips", type=click.IntRange(1), help="Clips of each video.  [default: 5, or 2 of interleaved windows]"
)
@click.option("--crops", type=click.IntRange(1), default=3, show_default=True, help="Crops of each clip.")
@click.option(
    "--stride",
    type=click.IntRange(1),
    help="Frames of the video from one frame of a clip to the next.  [default: as the weights were trained, else 4]",
)
@click.option(
    "--windows",
    type=click.Choice(["spread", "interleaved"]),
    help="How a video's clips lie; interleaved, each over the whole of it, is for models of Something-Something."
    "  [default: as the weights were trained, else spread]",
)
@click.option(
    "--workers",
    type=click.IntRange(0),
    metavar="N",
    help="Processes that decode.  [default: one for each processor, at most 16]",
)
@click.option(
    "--batch-videos",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Videos in a forward pass, each with all its views.",
)
@timeout_sec("A video that takes longer than this is a fault.")
@click.option(
    "--accelerator",
    type=click.Choice(["auto", "cpu", "gpu"]),
    default="auto",
    show_default=True,
    help="Where.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    default="fp32",
    show_default=True,
    help="bf16 or fp16: mixed precision, meant for GPUs (speed not measured).",
)
def predict(
    weights: str,
    videos: tuple[str, ...],
    top_k: int,
    format_: str,
    out: Path | None,
    clips: int | None,
    crops: int,
    stride: int | None,
    windows: Literal["spread", "interleaved"] | None,
    workers: int | None,
    batch_videos: int,
    timeout_sec: float,
    accelerator: str,
    precision: PrecisionName,
) -> None:
    """Say what VIDEO shows, with the classifier WEIGHTS: a weights folder, a run, an official file or a hub id.

    VIDEO is a file of any length; a folder, at any depth; a list, which is a .txt file with a path in each line or a
    .csv or .tsv file with a column `path`; or - for paths on standard input.

    Probabilities are means over all views of a video, as `videomae evaluate` scores them; clips are like those that the
    weights were trained on, where their card says so, unless --stride or --windows is given. A video that cannot be
    read is a row with the reason; exit code 1 when none can.
    """
    with importing():
        from videomae_train.commands.predict import PredictOptions, run_predict

    options = PredictOptions(
        top_k,
        format_,
        out,
        clips,
        crops,
        stride,
        windows,
        workers,
        batch_videos,
        timeout_sec,
        accelerator,
        precision,
    )
    run_predict(weights, videos, options)


@click.command(short_help="Compute features of videos.")
@click.argument("weights")
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO...")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="PATH",
    help="A folder, with a file for each video; or one file for all, ending in .safetensors or .npz.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["safetensors", "npz"]),
    help="Of the files in a folder.  [default: safetensors]",
)
@click.option(
    "--per",
    type=click.Choice(["clip", "video"]),
    default="clip",
    show_default=True,
    help="A row for each clip, or the mean of a video's clips.",
)
@click.option(
    "--layer", default=-1, show_default=True, help="-1 the last block, -2 the one before; 0 before the first."
)
@click.option(
    "--pooling",
    type=click.Choice(["mean", "space", "none"]),
    default="mean",
    show_default=True,
    help="Of a clip's tokens: all of them, those of each time slot, or none at all.",
)
@click.option(
    "--window-stride",
    type=click.IntRange(1),
    metavar="FRAMES",
    help="Slide over the whole video: frames from one clip's beginning to the next.  [default: --clips instead]",
)
@click.option("--clips", type=click.IntRange(1), default=5, show_default=True, help="Clips of each video.")
@click.option(
    "--crops",
    type=click.IntRange(1),
    metavar="N",
    help="Crops of each clip.  [default: 3, or 1 with --window-stride]",
)
@click.option(
    "--stride",
    type=click.IntRange(1),
    default=4,
    show_default=True,
    help="Frames of the video from one frame of a clip to the next.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="As written.",
)
@click.option("--selection", metavar="NAME", help="Of a packed set, such as split1/test.  [default: all]")
@click.option(
    "--workers",
    type=click.IntRange(0),
    metavar="N",
    help="Processes that decode.  [default: one for each processor, at most 16]",
)
@click.option(
    "--batch-clips", type=click.IntRange(1), default=8, show_default=True, help="Clips in a forward pass."
)
@timeout_sec("A video whose next clips take longer than this is a fault.")
@click.option(
    "--accelerator",
    type=click.Choice(["auto", "cpu", "gpu"]),
    default="auto",
    show_default=True,
    help="Where.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    default="fp32",
    show_default=True,
    help="bf16 or fp16: mixed precision, meant for GPUs (speed not measured).",
)
def features(
    weights: str,
    videos: tuple[str, ...],
    out: Path,
    format_: Literal["safetensors", "npz"] | None,
    per: Literal["clip", "video"],
    layer: int,
    pooling: Literal["mean", "space", "none"],
    window_stride: int | None,
    clips: int,
    crops: int | None,
    stride: int,
    dtype: Literal["float32", "float16"],
    selection: str | None,
    workers: int | None,
    batch_clips: int,
    timeout_sec: float,
    accelerator: str,
    precision: PrecisionName,
) -> None:
    """Write features of each VIDEO, from weights of any kind: pretrained, fine-tuned, an encoder alone.

    VIDEO is as for predict, or one packed set. Interrupted, the same command goes on where it was. Videos that cannot
    be read are listed in faults.json; exit code 1 when none can.
    """
    with importing():
        from videomae_train.commands.features import FeaturesOptions, run_features

    options = FeaturesOptions(
        out=out,
        format=format_,
        per=per,
        dtype=dtype,
        selection=selection,
        layer=layer,
        pooling=pooling,
        window_stride=window_stride,
        num_clips=clips,
        num_crops=crops,
        stride=stride,
        num_workers=workers,
        batch_clips=batch_clips,
        timeout_sec=timeout_sec,
        accelerator=accelerator,
        precision=precision,
    )
    run_features(weights, videos, options)
