"""Weights from one layout to another, the report on runs, and the demo."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("source")
@click.argument("destination", type=click.Path(path_type=Path))
@click.option(
    "--to",
    type=click.Choice(["hf", "official", "timm", "onnx"]),
    default="hf",
    show_default=True,
    help="Layout: a folder for hf, a .pth, .safetensors or .onnx file for the others.",
)
@click.option(
    "--allow", multiple=True, metavar="NAME", help="A tensor that may be missing, extra or misshapen."
)
@click.option("--encoder-only", is_flag=True, help="Leave decoder and head behind.")
@click.option("--entry", metavar="KEY", help="Top-level key of an official file, such as model_ema.")
@click.option(
    "--config", metavar="FOLDER", help="Weights whose config.json is the architecture of SOURCE too."
)
@click.option(
    "--trust-pickle", is_flag=True, help="Load a pickle that can run any code: only for your own files."
)
@click.option(
    "--push", metavar="REPO", help="Upload the folder to this hub repository (OWNER/NAME) afterwards."
)
def convert(
    source: str,
    destination: Path,
    to: str,
    allow: tuple[str, ...],
    encoder_only: bool,
    entry: str | None,
    config: str | None,
    trust_pickle: bool,
    push: str | None,
) -> None:
    """Convert weights between layouts, with an account of every tensor.

    SOURCE is a weights folder, a run's folder or checkpoint, an official VideoMAE or VideoMAE V2 file, or a hub id:
    `videomae convert OWNER/NAME FOLDER` fetches weights for machines without a network.
    """
    from videomae_train.commands.convert import ConvertOptions, run_convert

    run_convert(
        source, destination, ConvertOptions(to, allow, encoder_only, entry, config, trust_pickle, push)
    )


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="Where to write."
)
@click.option(
    "--short", is_flag=True, help="A minute instead of five: shows that the chain runs, not that it learns."
)
@click.option(
    "--seed", default=0, show_default=True, help="Seed of the videos, the selections and the training."
)
def demo(out: Path, short: bool, seed: int) -> None:
    """Run the main job on generated videos and write a report page."""
    from videomae_train.commands.demo import run_demo

    run_demo(out, short=short, seed=seed)


@click.command(short_help="Write a page about runs or a sweep.")
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="The page; PNG figures go to a folder beside it.",
)
@click.option("--title", help="Of the page.")
@click.option(
    "--data",
    metavar="FOLDER",
    help="Packed set that frames of scored videos are shown from, where it has moved.",
)
@click.option(
    "--video",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A video that every pretrained model reconstructs, instead of what the runs pictured themselves.",
)
def report(
    folders: tuple[Path, ...], out: Path, title: str | None, data: str | None, video: Path | None
) -> None:
    """Write one page about FOLDER...: runs, or folders of runs such as a sweep's; finished, running or failed.

    The page needs no network: it can be mailed, printed and archived.
    """
    from videomae_train.commands.report import ReportOptions, run_report

    run_report(folders, ReportOptions(out, title, data, video))
