"""What a classifier says of video files, in the order in which they are named."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor

from videomae_train.data.options import LoaderOptions, ViewOptions
from videomae_train.data.stand_ins import make_fault
from videomae_train.data.video_files import VideoFileDataset, video_file_loader
from videomae_train.errors import ConfigError, DecodeError, check_number
from videomae_train.evaluation.number_format import PrecisionName, computing_in
from videomae_train.evaluation.views import mean_probabilities
from videomae_train.model import VideoMAEConfig, VideoMAEForVideoClassification
from videomae_train.model.cards import TrainedClips, read_facts
from videomae_train.model.sources import local_folder
from videomae_train.types import Fault, VideoFileBatch

_MOST_WORKERS = 16


@dataclass(frozen=True)
class ClassProbability:
    """One class and its probability in [0, 1], the mean over views of each view's softmax."""

    label: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of one file.

    Attributes:
        path: The file.
        num_frames: Its frames; 0 where it cannot be read.
        classes: The most probable ones, most probable first; none where the file cannot be read.
        fault: Why the file cannot be read; None where it can.
    """

    path: Path
    num_frames: int
    classes: tuple[ClassProbability, ...]
    fault: Fault | None


class VideoPredictor:
    """A classifier for video files of any length, without packing them.

    Views and scores are those of `videomae evaluate`: the same bytes give the same probabilities, to the last digit
    with one video in a forward pass.

    Args:
        model: The classifier; it is moved to the device and left in evaluation mode.
        views: Which views are taken, of the model's clip size; see `published_views`.
        device: Where to compute; None takes a GPU if there is one.
        top_k: Classes named of each video, at least 1; fewer where the model has fewer.
        num_workers: Processes that decode; 0 decodes in this one, where nothing ends a decoder that hangs or crashes.
            None takes one for each processor that this process may use, at most 16.
        batch_videos: Videos in a forward pass, each with all its views.
        decode_timeout_sec: The longest that decoding one video's views may take; then it is a fault.
        precision: Of the matrix products: fp32, or bf16 or fp16 for mixed precision.

    Raises:
        ConfigError: The model has no classes, or a number is out of range.
    """

    def __init__(
        self,
        model: VideoMAEForVideoClassification,
        views: ViewOptions | None = None,
        *,
        device: torch.device | str | None = None,
        top_k: int = 5,
        num_workers: int | None = None,
        batch_videos: int = 1,
        decode_timeout_sec: float = 300.0,
        precision: PrecisionName = "fp32",
    ) -> None:
        _check_numbers(model, top_k, batch_videos)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model = model.to(self.device).eval()
        self.views = published_views(model.config) if views is None else views
        self.top_k = min(top_k, model.num_classes)
        self.num_workers = num_workers
        self.batch_videos = batch_videos
        self.decode_timeout_sec = decode_timeout_sec
        self.precision: PrecisionName = precision

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        num_clips: int | None = None,
        num_crops: int = 3,
        stride: int | None = None,
        windows: Literal["spread", "interleaved"] | None = None,
        device: torch.device | str | None = None,
        top_k: int = 5,
        num_workers: int | None = None,
        batch_videos: int = 1,
        decode_timeout_sec: float = 300.0,
        precision: PrecisionName = "fp32",
    ) -> Self:
        """Load a classifier; see `VideoPredictor` and `published_views` for the arguments.

        With neither windows nor stride, clips are like those of the training, where the weights' card says how these
        were.

        Args:
            source: A weights folder, a run's folder or checkpoint, an official file or a hub id.
            num_clips: Clips of each video; None as `published_views`.

        Raises:
            CheckpointError: The weights are missing, damaged or of another model.
            ConfigError: The model has no classes, or a number is out of range.
        """
        model = VideoMAEForVideoClassification.from_pretrained(source)
        views = published_views(
            model.config, num_clips=num_clips, num_crops=num_crops, stride=stride, windows=windows or "spread"
        )
        clips = None if (stride or windows) else _trained_clips(source)
        if clips is not None:
            views = views_like(clips, model.config, num_clips=num_clips, num_crops=num_crops)
        return cls(
            model,
            views,
            device=device,
            top_k=top_k,
            num_workers=num_workers,
            batch_videos=batch_videos,
            decode_timeout_sec=decode_timeout_sec,
            precision=precision,
        )

    def predict(self, paths: Sequence[str | Path]) -> Iterator[Prediction]:
        """Classify files, one after the other in their order, while workers decode the next ones.

        A file that cannot be read, or that a decoder hangs or crashes on, gives a prediction with a fault. See
        `find_videos` for folders and lists.

        Args:
            paths: Video files, each once.

        Raises:
            ConfigError: A path is given twice.
        """
        files = [Path(path) for path in paths]
        if len(set(files)) < len(files):
            came = f"{len(files)} paths, {len(set(files))} different"
            raise _error("paths", came, "each file once", "Name none twice.")
        return self._predict(files)

    def _predict(self, files: list[Path]) -> Generator[Prediction]:
        known: dict[int, Fault] = {}
        done = 0
        while done < len(files):
            dataset = VideoFileDataset(files, self.views, known)
            loader = video_file_loader(
                dataset, self._loader_options(len(files)), batch_videos=self.batch_videos, first=done
            )
            try:
                for batch in loader:
                    predictions = self._classify(files, batch)
                    done += len(predictions)
                    yield from predictions
            except DecodeError as error:
                # A worker died of one file: note it, and begin anew at the first one that is still due.
                place = files.index(Path(error.where))
                if place in known:
                    raise
                known[place] = make_fault(dataset.names, place, -1, error)

    @torch.inference_mode()
    def _classify(self, files: Sequence[Path], batch: VideoFileBatch) -> list[Prediction]:
        rows = {fault.sample_id: Prediction(files[fault.sample_id], 0, (), fault) for fault in batch.faults}
        if len(batch.sample_ids):
            clips = batch.clips.to(self.device, non_blocking=True)
            with computing_in(self.precision, self.device):
                best = mean_probabilities(self.model, clips).topk(self.top_k)
            for place, num_frames, probabilities, numbers in zip(
                batch.sample_ids.tolist(), batch.num_frames.tolist(), best.values, best.indices, strict=True
            ):
                rows[place] = Prediction(files[place], num_frames, self._named(probabilities, numbers), None)
        return [rows[place] for place in sorted(rows)]

    def _named(self, probabilities: Tensor, numbers: Tensor) -> tuple[ClassProbability, ...]:
        names = self.model.config.id2label
        pairs = zip(numbers.tolist(), probabilities.tolist(), strict=True)
        return tuple(ClassProbability(names[number], probability) for number, probability in pairs)

    def _loader_options(self, num_files: int) -> LoaderOptions:
        workers = self.num_workers
        if workers is None:
            workers = choose_num_workers(-(-num_files // self.batch_videos))
        return LoaderOptions(
            num_workers=workers,
            prefetch_batches=2,
            pin_memory=self.device.type == "cuda",
            decode_timeout_sec=self.decode_timeout_sec,
        )


def published_views(
    config: VideoMAEConfig,
    *,
    num_clips: int | None = None,
    num_crops: int = 3,
    stride: int | None = None,
    windows: Literal["spread", "interleaved"] = "spread",
) -> ViewOptions:
    """Give the views of the published test mode, of a model's clip size.

    Args:
        config: Of the model.
        num_clips: None takes 5, as for Kinetics, UCF101 and HMDB51, and 2 interleaved ones, as for Something-Something.
        num_crops: Square crops of each clip along the longer side.
        stride: Frames of the video from one frame of a clip to the next; None takes 4, and with interleaved clips what
            spans the video.
        windows: "spread": clips evenly from the first to the last frame; "interleaved" (Something-Something): clips
            that each span the whole video and take its frames in turn.

    Raises:
        ConfigError: The model's frames are not square, a number is below 1, or interleaved clips have a stride.
    """
    height, width = config.frame_size
    if height != width:
        raise _error(
            "weights",
            f"frames of {height}x{width}",
            "a model of square frames",
            "Take other weights, or cut clips of that shape yourself and give them to the model.",
        )
    if windows == "spread":
        stride = 4 if stride is None else stride
    elif stride is not None:
        raise _error(
            "stride",
            f"{stride} with windows={windows}",
            "none: each clip spans the whole video",
            "Leave the stride out, or take windows=spread.",
        )
    num_clips = {"spread": 5, "interleaved": 2}[windows] if num_clips is None else num_clips
    check_number("num_clips", num_clips, least=1, such_as=5)
    check_number("num_crops", num_crops, least=1, such_as=3)
    check_number("stride", stride, least=1, such_as=4)
    return ViewOptions(
        num_frames=config.num_frames,
        windows=windows,
        stride=stride,
        frame_interval_sec=None,
        size=height,
        num_clips=num_clips,
        num_crops=num_crops,
        antialias=True,
    )


def views_like(
    clips: TrainedClips, config: VideoMAEConfig, *, num_clips: int | None = None, num_crops: int = 3
) -> ViewOptions:
    """Give the views of the published test mode with clips like those of a training.

    Raises:
        ConfigError: As `published_views`.
    """
    windows = "interleaved" if clips.is_whole else "spread"
    views = published_views(config, num_clips=num_clips, num_crops=num_crops, windows=windows)
    return replace(
        views,
        stride=clips.stride,
        frame_interval_sec=clips.frame_interval_sec,
        antialias=clips.antialias,
    )


def _trained_clips(source: str | Path) -> TrainedClips | None:
    """Read off the card of a weights folder, or of a run's, how the clips lay; None where it does not say."""
    folder = local_folder(Path(source))
    facts = None if folder is None else read_facts(folder)
    return None if facts is None else facts.clips


def _check_numbers(model: VideoMAEForVideoClassification, top_k: int, batch_videos: int) -> None:
    if not model.num_classes:
        raise _error(
            "weights",
            "a model without classes",
            "a fine-tuned classifier",
            "Take the weights of `videomae finetune`; these have features only (`videomae features`).",
        )
    check_number("top_k", top_k, least=1, such_as=5)
    check_number("batch_videos", batch_videos, least=1, such_as=1)


def _error(where: str, came: str, expected: str, todo: str) -> ConfigError:
    return ConfigError(where=where, came=came, expected=expected, todo=todo)


def choose_num_workers(num_batches: int) -> int:
    """Take a decoding process for each processor, at most 16, and no more than there is work for."""
    return min(_num_processors(), _MOST_WORKERS, num_batches)


def _num_processors() -> int:
    """Count the processors that this process may use, where the system tells (not on macOS), else all."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
