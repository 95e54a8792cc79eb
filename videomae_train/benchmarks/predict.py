"""Predictions and features of video files, beside transformers' pipeline on the same files and weights."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videomae_train.benchmarks.alternating import Spread, in_turn
from videomae_train.errors import TrainingError

# Pixels differ by roundings of normalising; scores by those of sums over up to 1568 tokens and 12 layers.
AGREEMENT = 1e-3

Rows = np.ndarray
Work = Callable[[Sequence[Path]], Rows]


class Clock:
    """Seconds between notes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def note(self, name: str) -> None:
        """Give the time since the last note a name."""
        now = time.perf_counter()
        self.seconds[name], self._last = now - self._last, now


class PipelineRival:
    """transformers' video-classification pipeline and its model, fed by PyAV.

    The pipeline's own choice of decoder is torchcodec, which needs an installed FFmpeg; without a video processor it
    decodes with PyAV, and takes the first frames of each video.

    Args:
        weights: A weights folder of a classifier.
    """

    def __init__(self, weights: Path) -> None:
        library: Any = import_module("transformers")
        library.utils.logging.disable_progress_bar()
        self.pipe: Any = library.pipeline("video-classification", model=str(weights), device="cpu")
        self.pipe.video_processor = None
        self._reading: Any = import_module("transformers.pipelines.video_classification")

    def predict(self, files: Sequence[Path]) -> Rows:
        """Classify files: probabilities float64 (files, K), in the order of the classes' numbers."""
        numbers: dict[str, int] = self.pipe.model.config.label2id
        rows = np.zeros((len(files), len(numbers)))
        for row, file in zip(rows, files, strict=True):
            for each in self.pipe(str(file), top_k=len(numbers)):
                row[numbers[each["label"]]] = each["score"]
        return rows

    @torch.inference_mode()
    def features(self, files: Sequence[Path]) -> Rows:
        """Compute what the head sees: float32 (files, D)."""
        model = self.pipe.model
        rows = [
            model.fc_norm(model.videomae(**self.pipe.preprocess(str(file))).last_hidden_state.mean(1))
            for file in files
        ]
        return torch.cat(rows).numpy()

    @torch.inference_mode()
    def stages(self, file: Path) -> dict[str, float]:
        """Time the steps of one prediction, in seconds."""
        library: Any = import_module("av")
        length = self.pipe.model.config.num_frames
        clock = Clock()
        with library.open(str(file)) as container:
            frames = self._reading.read_video_pyav(container, np.arange(length))
        clock.note("decode")
        inputs = self.pipe.image_processor(list(frames), return_tensors="pt")
        clock.note("resize")
        self.pipe.model(**inputs)
        clock.note("model")
        return clock.seconds


@dataclass(frozen=True)
class UseReport:
    """One way of working, measured over all files.

    Attributes:
        name: Of the row.
        videos_per_sec: Of wall time.
        times: Times the speed of transformers at the same work, round by round.
        stage_ms: Milliseconds of each step of a video's prediction, one after the other in one process; empty where it
            was not measured.
    """

    name: str
    videos_per_sec: Spread
    times: Spread
    stage_ms: Mapping[str, float]


@dataclass(frozen=True)
class UseComparison:
    """All rows, and under which conditions.

    Attributes:
        num_videos: Files.
        rounds: Turns of every row.
        threads: PyTorch's.
        num_workers: Our processes that decode.
        differences: Work -> the largest difference between ours and transformers' numbers before timing: of
            probabilities, and of features relative to the largest.
        rows: One for each way.
    """

    num_videos: int
    rounds: int
    threads: int
    num_workers: int
    differences: Mapping[str, float]
    rows: Sequence[UseReport]


def compare_use(
    pairs: Mapping[str, tuple[Work, Work]],
    stages: Mapping[str, Callable[[Path], dict[str, float]]],
    files: Sequence[Path],
    *,
    rounds: int,
    num_workers: int,
) -> UseComparison:
    """Measure ours and transformers' in turn, after making sure that they compute the same.

    Args:
        pairs: Work, such as "predict" -> ours and transformers', each from files to rows of numbers.
        stages: "ours" and "transformers" -> seconds of each step of one file's prediction.
        files: Videos that can be read.
        rounds: Turns, at least 1.
        num_workers: For the record.

    Raises:
        TrainingError: The two do not give the same numbers.
    """
    differences = {
        work: _difference(work, ours(files), theirs(files)) for work, (ours, theirs) in pairs.items()
    }
    contenders = {
        f"{who} {work}": _timed(run, files)
        for work, pair in pairs.items()
        for who, run in zip(("ours", "transformers"), pair, strict=True)
    }
    measured = in_turn(contenders, rounds)
    steps = {who: _mean_ms([step(file) for file in files]) for who, step in stages.items()}
    rows = [
        UseReport(
            name=name,
            videos_per_sec=Spread.of(len(files) / measured.seconds[name]),
            times=measured.ratio(name, f"transformers {name.split()[1]}"),
            stage_ms=steps[name.split()[0]] if name.endswith("predict") else {},
        )
        for name in contenders
    ]
    return UseComparison(len(files), rounds, torch.get_num_threads(), num_workers, differences, rows)


def _difference(work: str, ours: Rows, theirs: Rows) -> float:
    scale = 1.0 if work == "predict" else float(np.abs(theirs).max())
    difference = float(np.abs(ours - theirs).max()) / scale
    if not difference <= AGREEMENT:
        raise TrainingError(
            where=f"bench predict, {work}",
            came=f"numbers {difference:.1e} apart",
            expected=f"at most {AGREEMENT} between ours and transformers' on the same files and weights",
            todo="Report it with both versions and the file; timings of different functions say nothing.",
        )
    return difference


def _timed(run: Work, files: Sequence[Path]) -> Callable[[int], float]:
    def seconds(number: int) -> float:
        began = time.perf_counter()
        run(files)
        return time.perf_counter() - began

    return seconds


def _mean_ms(steps: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: 1000 * float(np.median([step[name] for step in steps])) for name in steps[0]}


def write_json(comparison: UseComparison, file: Path) -> None:
    """Write all figures."""
    file.write_text(json.dumps(asdict(comparison), indent=1) + "\n")
