"""Verbs that make, look into and move sets of videos."""

from __future__ import annotations

from pathlib import Path

import click

from videomae_train.cli.options import RealRange, processes, timeout_sec

_COUNTS = click.IntRange(1)
_RATES = RealRange(0, min_open=True)


@click.command(short_help="Pack videos into shards.")
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
@click.option("--frames-fps", type=_RATES, metavar="FPS", help="Rate of folders of extracted frames.")
@click.option("--short-side", type=int, metavar="N", help="Encode anew, the short side at most N pixels.")
@click.option(
    "--keyframe-interval", type=int, metavar="N", help="Encode anew, a keyframe every N frames (else 16)."
)
@click.option("--crf", type=int, metavar="N", help="Encode anew, at x264's constant rate factor N (else 23).")
@click.option(
    "--shard-videos",
    type=_COUNTS,
    default=1000,
    show_default=True,
    help="Largest number of videos in a shard.",
)
@click.option("--shard-mib", type=_COUNTS, default=512, show_default=True, help="Largest size of a shard.")
@processes("Processes that probe and encode the videos.")
@timeout_sec("A video that takes longer than this is a fault.")
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
    from videomae_train.data.pack_plan import PackOptions
    from videomae_train.data.parts import Part
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


@click.command(short_help="Look for what makes videos bad to train on.")
@click.argument("source")
@click.option("--splits", type=click.Path(path_type=Path), metavar="FOLDER", help="Lists, as for pack.")
@click.option("--unlabelled", is_flag=True, help="Folder names are no classes, as for pack.")
@click.option("--frames-fps", type=_RATES, metavar="FPS", help="Rate of folders of frames, as for pack.")
@click.option(
    "--num-frames",
    type=_COUNTS,
    default=16,
    show_default=True,
    help="Frames of the clips that will be taken.",
)
@click.option(
    "--stride",
    type=_COUNTS,
    default=4,
    show_default=True,
    help="Frames from one frame of a clip to the next.",
)
@click.option(
    "--image-size", type=_COUNTS, default=224, show_default=True, help="Side of the clips in pixels."
)
@click.option("--quick", is_flag=True, help="Read everything and compare checksums, but decode nothing.")
@processes("Processes that decode the videos.")
@timeout_sec("A video that takes longer than this is a fault.")
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


@click.command(short_help="Index shards that are there already.")
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
@processes("Processes that decode the videos.")
@timeout_sec("A video that takes longer than this is a fault.")
@click.option("--part", metavar="I/N", help="Read part I of N of the shards only, for a job array.")
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
    part: str | None,
    overwrite: bool,
) -> None:
    """Index WebDataset shards that are there already; they stay where they are.

    SOURCE is a folder or URL with .tar files; an address such as https://host/train-{000000..000099}.tar or
    s3://bucket/train-{000..007}.tar; or a .txt file with an address in each line. The index is written into
    DESTINATION, else beside the shards. data.path is the folder of the index.

    Interrupted, the same command continues: it reads again only shards that it had not read to their end or that have
    changed since. Jobs with --part 1/8 to --part 8/8 share the shards; the command without --part then joins what they
    found, reads what is missing and completes the set.
    """
    from videomae_train.commands.index import read_classes, run_index
    from videomae_train.data.index_plan import IndexOptions
    from videomae_train.data.parts import Part
    from videomae_train.data.shard_lists import SplitRule

    options = IndexOptions(
        splits=tuple(map(SplitRule.parse, splits)),
        label_key=label_key,
        unlabelled=unlabelled,
        classes=read_classes(classes),
        key_with_shard=key_with_shard,
        processes=processes,
        timeout_sec=timeout_sec,
        part=None if part is None else Part.parse(part),
        overwrite=overwrite,
    )
    run_index(source, destination, options)


@click.command(short_help="Copy a set to a local disk.")
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
