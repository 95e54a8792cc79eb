"""The `videomae` command: file verbs with ordinary options, training verbs with Hydra overrides."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import click

from videomae_train.errors import VideoMAETrainError
from videomae_train.training.requeue import ignore_warnings_outside_training

_HYDRA = {"ignore_unknown_options": True, "help_option_names": []}


def main() -> NoReturn:
    """Run the command line; a user's mistake or a run's failure is one message and an exit code, no traceback."""
    try:
        videomae.main(standalone_mode=False)
    except VideoMAETrainError as error:
        click.secho("Error: ", fg="red", bold=True, nl=False, err=True)
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(130)
    sys.exit(0)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="videomae-train")
def videomae() -> None:
    """Pretrain video transformers by masked reconstruction, fine-tune and evaluate them.

    pretrain, finetune, evaluate and reconstruct take Hydra overrides (videomae pretrain model=base
    masking.ratio=0.95); `videomae VERB --help` lists their groups, `videomae VERB --cfg job` prints the whole
    configuration.
    """


def _run_hydra(verb: str, overrides: tuple[str, ...]) -> None:
    ignore_warnings_outside_training()  # before the imports, which take seconds
    from videomae_train.commands.hydra_verbs import run_hydra_verb

    run_hydra_verb(verb, overrides)


@videomae.command(context_settings=_HYDRA, short_help="Pretrain by masked reconstruction.")
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
def pretrain(overrides: tuple[str, ...]) -> None:
    """Pretrain a model on packed videos."""
    _run_hydra("pretrain", overrides)


@videomae.command(context_settings=_HYDRA, short_help="Fine-tune for classification.")
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
def finetune(overrides: tuple[str, ...]) -> None:
    """Fine-tune a weights folder, or train from scratch, on labelled videos."""
    _run_hydra("finetune", overrides)


@videomae.command(context_settings=_HYDRA, short_help="Score a classifier, several views per video.")
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
def evaluate(overrides: tuple[str, ...]) -> None:
    """Score a fine-tuned weights folder on labelled videos."""
    _run_hydra("evaluate", overrides)


@videomae.command(context_settings=_HYDRA, short_help="Picture what a pretrained model reconstructs.")
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
def reconstruct(overrides: tuple[str, ...]) -> None:
    """Write a strip and a looping picture of one video's reconstruction."""
    _run_hydra("reconstruct", overrides)


@videomae.command(
    context_settings={"ignore_unknown_options": True},
    short_help="Say what a training command would do and cost.",
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[pretrain|finetune] OVERRIDES...")
@click.option(
    "--videos", type=click.IntRange(min=1), metavar="N", help="Videos of the set, where it is not at hand."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def explain(words: tuple[str, ...], videos: int | None, as_json: bool) -> None:
    """Print every value of a training command with where it comes from, what follows from the values, and estimates
    of memory, time and disk for this machine. Nothing is written.

    A recipe's name tells the verb: `videomae explain experiment=pretrain_vitb_k400 --videos 240436`.
    """
    from videomae_train.commands.explain import run_explain

    run_explain(words, num_videos=videos, as_json=as_json)


@videomae.command(short_help="Pack videos into shards.")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("destination", type=click.Path(path_type=Path))
@click.option(
    "--splits",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Official lists of UCF101, HMDB51, Kinetics or Something-Something V2, or lists named train, val and test; "
    "they become columns of the set.",
)
@click.option("--unlabelled", is_flag=True, help="Folder names are no classes: a set for pretraining.")
@click.option("--frames-fps", type=float, metavar="FPS", help="Rate of folders of extracted frames.")
@click.option("--short-side", type=int, metavar="N", help="Encode anew, the short side at most N pixels.")
@click.option(
    "--keyframe-interval", type=int, metavar="N", help="Encode anew, a keyframe every N frames (else 16)."
)
@click.option("--crf", type=int, metavar="N", help="Encode anew, at x264's constant rate factor N (else 23).")
@click.option("--shard-videos", default=1000, show_default=True, help="Largest number of videos in a shard.")
@click.option("--shard-mib", default=512, show_default=True, help="Largest size of a shard.")
@click.option("--processes", default=1, show_default=True, help="Processes that probe and encode the videos.")
@click.option(
    "--timeout-sec", default=300.0, show_default=True, help="A video that takes longer than this is a fault."
)
@click.option("--seed", default=0, show_default=True, help="Seed of the order in which videos fill shards.")
@click.option("--part", metavar="I/N", help="Pack part I of N only, for a job array; see below.")
@click.option("--overwrite", is_flag=True, help="Replace another set that stands in DESTINATION.")
@click.option("--dry-run", is_flag=True, help="Say what would be packed, and write nothing.")
def pack(
    source: Path,
    destination: Path,
    splits: Path | None,
    unlabelled: bool,
    frames_fps: float | None,
    short_side: int | None,
    keyframe_interval: int | None,
    crf: int | None,
    shard_videos: int,
    shard_mib: int,
    processes: int,
    timeout_sec: float,
    seed: int,
    part: str | None,
    overwrite: bool,
    dry_run: bool,
) -> None:
    """Pack videos into shards with an index.

    SOURCE is a folder of class folders; or a list of videos, separated by commas or tabs with the columns path, label
    and any splits, or lines of `path label`; or a folder of videos to which --splits has the lists; or a folder of
    folders of images. docs/data.md shows each.

    Bytes are kept as they are, unless one of --short-side, --keyframe-interval and --crf asks to encode the videos
    for training: H.264 without audio, which decodes several times faster.

    Interrupted, the same command continues. Jobs with --part 1/8 to --part 8/8 fill one folder together; the command
    without --part then joins their shards, packs what is missing and completes the set.
    """
    from videomae_train.commands.pack import reencoding_of, run_pack
    from videomae_train.data.pack_plan import PackOptions, Part
    from videomae_train.data.sources import open_source

    options = PackOptions(
        seed=seed,
        shard_max_videos=shard_videos,
        shard_max_bytes=shard_mib * 2**20,
        reencoding=reencoding_of(short_side=short_side, keyframe_interval=keyframe_interval, crf=crf),
        processes=processes,
        timeout_sec=timeout_sec,
        part=None if part is None else Part.parse(part),
        overwrite=overwrite,
    )
    videos = open_source(source, splits=splits, unlabelled=unlabelled, frames_fps=frames_fps)
    run_pack(videos, destination, options, dry_run=dry_run)


@videomae.command(short_help="Look for what makes videos bad to train on.")
@click.argument("source")
@click.option("--splits", type=click.Path(path_type=Path), metavar="FOLDER", help="Lists, as for pack.")
@click.option("--unlabelled", is_flag=True, help="Folder names are no classes, as for pack.")
@click.option("--frames-fps", type=float, metavar="FPS", help="Rate of folders of frames, as for pack.")
@click.option("--num-frames", default=16, show_default=True, help="Frames of the clips that will be taken.")
@click.option("--stride", default=4, show_default=True, help="Frames from one frame of a clip to the next.")
@click.option("--image-size", default=224, show_default=True, help="Side of the clips in pixels.")
@click.option("--quick", is_flag=True, help="Read everything and compare checksums, but decode nothing.")
@click.option("--processes", default=1, show_default=True, help="Processes that decode the videos.")
@click.option(
    "--timeout-sec", default=300.0, show_default=True, help="A video that takes longer than this is a fault."
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path),
    help="File for programs.  [default: check-NAME/check.json]",
)
@click.option(
    "--page", type=click.Path(path_type=Path), help="Report page.  [default: check-NAME/report.html]"
)
def check(
    source: str,
    splits: Path | None,
    unlabelled: bool,
    frames_fps: float | None,
    num_frames: int,
    stride: int,
    image_size: int,
    quick: bool,
    processes: int,
    timeout_sec: float,
    json_file: Path | None,
    page: Path | None,
) -> None:
    """Look into every video of SOURCE, before GPU days are spent on it.

    SOURCE is a packed set, its URL, or whatever `videomae pack` takes. Reports lengths, rates, sizes, codecs,
    keyframes, duplicates, balance of the classes, overlap of train and test, and faults: as a table, a page and a
    JSON file.

    Exit code 1, with the reason, when the set cannot be trained on.
    """
    from videomae_train.commands.check import CheckOptions, run_check
    from videomae_train.data.health import ClipShape

    clip = ClipShape(num_frames=num_frames, stride=stride, size=image_size)
    run_check(
        source,
        CheckOptions(
            splits,
            unlabelled,
            frames_fps,
            clip,
            quick,
            processes,
            timeout_sec,
            json_file=json_file,
            page=page,
        ),
    )


@videomae.command(short_help="Index shards that are there already.")
@click.argument("source")
@click.argument("destination", type=click.Path(path_type=Path), required=False)
@click.option(
    "--split",
    "splits",
    multiple=True,
    metavar="NAME/PART=GLOB",
    help="Shards that are a part of a split, such as split1/train='train-*.tar'; repeatable. "
    "Else folders such as train/ and val/ are parts of `split`.",
)
@click.option("--label-key", metavar="KEY", help="Labels are under this key of each .json; else in .cls.")
@click.option(
    "--classes",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Names of the classes 0, 1 ..., one a line.",
)
@click.option("--unlabelled", is_flag=True, help="Take no labels: a set for pretraining.")
@click.option(
    "--key-with-shard", is_flag=True, help="Name samples by shard and key, where each shard counts anew."
)
@click.option("--processes", default=1, show_default=True, help="Processes that decode the videos.")
@click.option(
    "--timeout-sec", default=300.0, show_default=True, help="A video that takes longer than this is a fault."
)
@click.option("--overwrite", is_flag=True, help="Replace an index that is there already.")
def index(
    source: str,
    destination: Path | None,
    splits: tuple[str, ...],
    label_key: str | None,
    classes: Path | None,
    unlabelled: bool,
    key_with_shard: bool,
    processes: int,
    timeout_sec: float,
    overwrite: bool,
) -> None:
    """Index WebDataset shards that are there already; they stay where they are.

    SOURCE is a folder or URL with .tar files; an address such as https://host/train-{000000..000099}.tar or
    s3://bucket/train-{000..007}.tar; or a .txt file with an address in each line. The index is written into
    DESTINATION, else beside the shards. data.path is the folder of the index.
    """
    from videomae_train.commands.index import read_classes, run_index
    from videomae_train.data.indexing import IndexOptions
    from videomae_train.data.shard_lists import SplitRule

    options = IndexOptions(
        splits=tuple(map(SplitRule.parse, splits)),
        label_key=label_key,
        unlabelled=unlabelled,
        classes=read_classes(classes),
        key_with_shard=key_with_shard,
        processes=processes,
        timeout_sec=timeout_sec,
        overwrite=overwrite,
    )
    run_index(source, destination, options)


@videomae.command(short_help="Copy a set to a local disk.")
@click.argument("source")
@click.argument("destination", type=click.Path(path_type=Path))
@click.option(
    "--selection",
    "selections",
    multiple=True,
    default=("all",),
    show_default=True,
    metavar="NAME",
    help="Copy only the shards of this selection, such as split1/train; repeatable.",
)
@click.option(
    "--threads", default=4, show_default=True, type=click.IntRange(1), help="Shards copied at a time."
)
def stage(source: str, destination: Path, selections: tuple[str, ...], threads: int) -> None:
    """Copy a set's shards to a disk of this machine, verified.

    SOURCE is a set's folder or URL. A run on DESTINATION has the same samples in the same order and goes on from the
    same checkpoints. Interrupted, the same command continues.
    """
    from videomae_train.commands.stage import run_stage

    run_stage(source, destination, selections, threads)


@videomae.command(short_help="Classify video files.")
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
@click.option("--clips", type=click.IntRange(1), default=5, show_default=True, help="Clips of each video.")
@click.option("--crops", type=click.IntRange(1), default=3, show_default=True, help="Crops of each clip.")
@click.option(
    "--stride",
    type=click.IntRange(1),
    default=4,
    show_default=True,
    help="Frames of the video from one frame of a clip to the next.",
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
@click.option(
    "--timeout-sec", default=300.0, show_default=True, help="A video that takes longer than this is a fault."
)
@click.option(
    "--accelerator",
    type=click.Choice(["auto", "cpu", "gpu"]),
    default="auto",
    show_default=True,
    help="Where.",
)
def predict(
    weights: str,
    videos: tuple[str, ...],
    top_k: int,
    format_: str,
    out: Path | None,
    clips: int,
    crops: int,
    stride: int,
    workers: int | None,
    batch_videos: int,
    timeout_sec: float,
    accelerator: str,
) -> None:
    """Say what VIDEO shows, with the classifier WEIGHTS: a weights folder, a run, an official file or a hub id.

    VIDEO is a file of any length; a folder, at any depth; a list, which is a .txt file with a path in each line or a
    .csv or .tsv file with a column `path`; or - for paths on standard input.

    Probabilities are means over all views of a video, as `videomae evaluate` scores them. A video that cannot be read
    is a row with the reason; exit code 1 when none can.
    """
    from videomae_train.commands.predict import PredictOptions, run_predict

    options = PredictOptions(
        top_k, format_, out, clips, crops, stride, workers, batch_videos, timeout_sec, accelerator
    )
    run_predict(weights, videos, options)


@videomae.command()
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


@videomae.command()
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


@videomae.group()
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
    "--only", metavar="NAMES", help="Some of joint, dual, cross, transformers, separated by commas."
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
@click.option("--rounds", default=7, show_default=True, help="Clips that every way loads of each video.")
@click.option("--videos", default=64, show_default=True, help="Use so many videos of SOURCE at most.")
@click.option("--short-side", default=256, show_default=True, help="Short side of the videos encoded anew.")
@click.option(
    "--step-ms", default=250.0, show_default=True, help="Length of the training step that waits for clips."
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


if __name__ == "__main__":
    main()
