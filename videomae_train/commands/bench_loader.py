"""`videomae bench loader`: the data path on a folder of videos, beside a straightforward loader."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.console import Console
from rich.table import Table

from videomae_train.benchmarks.loader import LoaderBenchmark, PathReport, share_of_waiting
from videomae_train.benchmarks.straightforward import ClipShape
from videomae_train.commands.pack import pack_with_progress
from videomae_train.config import build
from videomae_train.config.loader import compose_config, load_config
from videomae_train.config.schema import PretrainConfig
from videomae_train.data.datamodule import PretrainDataModule
from videomae_train.data.encoding import Reencoding
from videomae_train.data.keys import sample_keys
from videomae_train.data.pack_plan import PackOptions
from videomae_train.data.sources import SourceSet, open_source
from videomae_train.data.video_table import VideoTable
from videomae_train.errors import ConfigError

_MANY_VIEWS = 4
_MICRO_BATCH = 8
_WAITING_BATCHES = 12


@dataclass(frozen=True)
class LoaderBenchOptions:
    """What is measured.

    Attributes:
        rounds: Times that every way loads one clip of each video.
        videos: Use so many videos of the source at most.
        short_side: Pixels of the short side of the packed videos; larger ones are made smaller.
        overrides: Of `videomae pretrain`, such as data.stride=2.
        step_ms: Length of the stand-in training step of 8 videos that waits for one loader process.
    """

    rounds: int
    videos: int
    short_side: int
    overrides: tuple[str, ...]
    step_ms: float


def run_bench_loader(source: Path, options: LoaderBenchOptions, json_file: Path | None) -> None:
    """Pack the videos twice into a temporary folder, measure all ways in turn, print and write the figures.

    Raises:
        ConfigError: No video can be read, or an override is wrong.
    """
    torch.set_num_threads(1)
    console = Console()
    with TemporaryDirectory(prefix="videomae-bench-") as folder:
        videos = _first_videos(
            open_source(source, splits=None, unlabelled=True, frames_fps=None), options.videos
        )
        modules = _pack_ways(videos, Path(folder), options)
        reports = _measure(videos, modules, options)
    console.print(_table(reports))
    console.print(_conditions(len(videos.videos), options), highlight=False, soft_wrap=True)
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(report) for report in reports], indent=1) + "\n")


def _first_videos(source: SourceSet, count: int) -> SourceSet:
    step = max(len(source.videos) // count, 1)
    return replace(source, videos=source.videos[::step][:count])


def _pack_ways(source: SourceSet, folder: Path, options: LoaderBenchOptions) -> dict[str, PretrainDataModule]:
    kept = PackOptions(processes=1)
    encoded = replace(kept, reencoding=Reencoding(short_side=options.short_side))
    intra = replace(kept, reencoding=Reencoding(short_side=options.short_side, keyframe_interval=1))
    for name, how in (("kept", kept), ("encoded", encoded), ("intra", intra)):
        pack_with_progress(source, folder / name, how)
    return {
        "bytes kept": _module(folder / "kept", options.overrides, views=1),
        "encoded anew": _module(folder / "encoded", options.overrides, views=1),
        "intra": _module(folder / "intra", options.overrides, views=1),
        f"intra, {_MANY_VIEWS} views": _module(folder / "intra", options.overrides, views=_MANY_VIEWS),
        # What is left to the processor when a GPU crops and resizes.
        "the same, uncropped": _module(
            folder / "intra", [*options.overrides, "data.crop_on=device"], views=_MANY_VIEWS
        ),
    }


def _module(path: Path, overrides: Sequence[str], *, views: int) -> PretrainDataModule:
    given = [
        *overrides,
        f"data.path={path}",
        f"data.views={views}",
        "run=unused",
        f"optim.global_batch={_MICRO_BATCH}",
        f"trainer.micro_batch={_MICRO_BATCH}",
        "loader.num_workers=1",
    ]
    return build.pretrain_data(load_config("pretrain", compose_config("pretrain", given), PretrainConfig))


def _measure(
    source: SourceSet, modules: dict[str, PretrainDataModule], options: LoaderBenchOptions
) -> list[PathReport]:
    first = next(iter(modules.values())).dataset
    if first.options.stride is None:
        raise ConfigError(
            where="data.stride",
            came="null",
            expected="frames, as the loader that is compared with counts them",
            todo="Give data.stride=4 without data.frame_interval_sec.",
        )
    files, frames = _readable(source, first.selection.dataset)
    bench = LoaderBenchmark(
        files,
        frames,
        ClipShape(first.options.num_frames, first.options.stride, first.options.size),
        {name: module.dataset for name, module in modules.items()},
    )
    reports = bench.run(options.rounds)
    waiting = {
        name: share_of_waiting(iter(module.train_dataloader()), _WAITING_BATCHES, options.step_ms / 1000)
        for name, module in modules.items()
    }
    return [replace(report, wait_share=waiting.get(report.name)) for report in reports]


def _readable(source: SourceSet, packed: VideoTable) -> tuple[list[Path], list[int]]:
    """List the files that packing could read, with their numbers of frames."""
    rows = {packed.key(row): row for row in range(packed.num_videos)}
    keys = sample_keys(video.name for video in source.videos)
    readable = [video for video in source.videos if keys[video.name] in rows]
    counts = [int(packed.num_frames[rows[keys[video.name]]]) for video in readable]
    return [video.path for video in readable], counts


def _table(reports: Sequence[PathReport]) -> Table:
    table = Table(title="Loading clips for pretraining", title_justify="left")
    table.add_column("way", no_wrap=True)
    for name in ("views/s", "times", "read", "decode", "rest", "wait"):
        table.add_column(name, justify="right", no_wrap=True)
    for report in reports:
        views, times = report.views_per_sec, report.speedup
        shares = (report.read_share, report.decode_share, report.transform_share, report.wait_share)
        table.add_row(
            report.name,
            f"{views.median:.0f} ({views.low:.0f} to {views.high:.0f})",
            f"{times.median:.1f}",
            *("" if share is None else f"{share:.0%}" for share in shares),
        )
    return table


def _conditions(num_videos: int, options: LoaderBenchOptions) -> str:
    return (
        f"{num_videos} videos, one clip of each in every round, {options.rounds} rounds in turn; medians, quartiles in"
        " brackets. views/s: per second of one core's processor time; times: the first row's in the same round. read,"
        " decode, rest (crops, resizing, masks): shares of that time. wait: the share of wall time that a step of"
        f" {options.step_ms:.0f} ms for {_MICRO_BATCH} videos waits for one loader process. Encoded anew: short side at"
        f" most {options.short_side} px, a keyframe every {Reencoding.keyframe_interval} frames; intra: each frame."
        " Uncropped: crops and resizing are left to a GPU (data.crop_on=device)."
    )
