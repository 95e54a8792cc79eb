"""`videomae bench predict`: predictions and features beside transformers' pipeline on the same files and weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from videomae_train.benchmarks.alternating import Spread
from videomae_train.benchmarks.contenders import transformers_missing
from videomae_train.benchmarks.predict import Clock, PipelineRival, UseComparison, compare_use, write_json
from videomae_train.data.counting import count_frames
from videomae_train.data.options import ViewOptions
from videomae_train.data.transforms import as_clip, crop_views
from videomae_train.data.views import Video, evaluation_windows
from videomae_train.errors import ConfigError
from videomae_train.inference import VideoFeatures, VideoPredictor, find_videos
from videomae_train.inference.prediction import choose_num_workers
from videomae_train.model import load_classifier

_STAGES = ("decode", "resize", "model")


def run_bench_predict(
    weights: Path, videos: Sequence[str], rounds: int, workers: int | None, json_file: Path | None
) -> None:
    """Measure, print and write the figures.

    Raises:
        ConfigError: transformers is not there, or a video is shorter than a clip or cannot be read.
        TrainingError: The two do not give the same numbers.
    """
    if (missing := transformers_missing()) is not None:
        raise ConfigError(
            where="bench predict",
            came=missing,
            expected="transformers",
            todo="Install it beside this package.",
        )
    files = find_videos(videos).paths
    num_workers = choose_num_workers(len(files)) if workers is None else workers
    ours = _Ours(weights, num_workers)
    ours.check(files)
    rival = PipelineRival(weights)
    comparison = compare_use(
        {"predict": (ours.predict, rival.predict), "features": (ours.features, rival.features)},
        {"ours": ours.stages, "transformers": rival.stages},
        files,
        rounds=rounds,
        num_workers=num_workers,
    )
    console = Console()
    console.print(_table(comparison))
    console.print(_conditions(comparison), highlight=False, soft_wrap=True)
    if json_file is not None:
        write_json(comparison, json_file)


class _Ours:
    """`predict` and `features` on the frames that the pipeline takes with PyAV."""

    def __init__(self, weights: Path, num_workers: int) -> None:
        self.model = load_classifier(weights)
        config = self.model.config
        self.views = ViewOptions(
            num_frames=config.num_frames,
            windows="first",
            stride=1,
            frame_interval_sec=None,
            size=config.frame_size[0],
            num_clips=1,
            num_crops=1,
            antialias=True,
        )
        self.predictor = VideoPredictor(
            self.model, self.views, device="cpu", top_k=config.num_labels, num_workers=num_workers
        )
        self.extractor = VideoFeatures(self.model, self.views, device="cpu", num_workers=num_workers)
        self.numbers = config.label2id

    def check(self, files: Sequence[Path]) -> None:
        """Refuse files of which the pipeline would make no clip."""
        for file in files:
            num_frames = count_frames(file.read_bytes(), where=str(file))
            if num_frames < self.views.num_frames:
                raise ConfigError(
                    where=str(file),
                    came=f"{num_frames} frames",
                    expected=f"{self.views.num_frames} or more, which the pipeline needs",
                    todo="Leave it out.",
                )

    def predict(self, files: Sequence[Path]) -> np.ndarray:
        rows = np.zeros((len(files), len(self.numbers)))
        for row, prediction in zip(rows, self.predictor.predict(files), strict=True):
            for each in prediction.classes:
                row[self.numbers[each.label]] = each.probability
        return rows

    def features(self, files: Sequence[Path]) -> np.ndarray:
        source = find_videos(files)
        places = {source.keys[place]: place for place in range(len(files))}
        rows = {places[video.key]: video.features[0] for video in self.extractor.extract(source)}
        return np.stack([rows[place] for place in range(len(files))])

    @torch.inference_mode()
    def stages(self, file: Path) -> dict[str, float]:
        clock = Clock()
        content, where = file.read_bytes(), str(file)
        video = Video(content, count_frames(content, where=where), 0.0, where)
        frames = video.decode(evaluation_windows(video, self.views)[0])
        clock.note("decode")
        clips = crop_views(as_clip(frames), self.views.size, 1)
        clock.note("resize")
        self.model.classify(clips)
        clock.note("model")
        return clock.seconds


def _table(comparison: UseComparison) -> Table:
    table = Table(title="Use of a classifier on video files", title_justify="left")
    table.add_column("way", no_wrap=True)
    for name in ("videos/s", "times", *_STAGES):
        table.add_column(name, justify="right", no_wrap=True)
    for row in comparison.rows:
        stages = [f"{row.stage_ms[stage]:.1f}" if row.stage_ms else "" for stage in _STAGES]
        table.add_row(row.name, _spread(row.videos_per_sec), _spread(row.times), *stages)
    return table


def _spread(values: Spread) -> str:
    return f"{values.median:.2f}\n({values.low:.2f}-{values.high:.2f})"  # one line is too wide for a terminal


def _conditions(comparison: UseComparison) -> str:
    differences = ", ".join(f"{name} {value:.1e}" for name, value in comparison.differences.items())
    return (
        f"{comparison.num_videos} files, {comparison.rounds} rounds in turn, {comparison.threads} threads,"
        f" {comparison.num_workers} decoding processes of ours; medians, quartiles in brackets. Each video's first"
        " frames, one centre crop, as the pipeline takes them with PyAV. times: transformers' speed at the same work in"
        " the same round. decode (reading included), resize (cropping and, of transformers, normalising included),"
        " model: median milliseconds of one prediction step by step in one process. Before timing the numbers were"
        f" apart by: {differences}."
    )
