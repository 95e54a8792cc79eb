"""Features of videos as they come: any encoder, any layer, clips over whole videos of any length."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from videomae_train.data.clip_stream import ClipOptions, ClipPiece, ClipSource, ClipStream
from videomae_train.data.loader import make_stream_loader
from videomae_train.data.options import LoaderOptions
from videomae_train.data.sliding import SlidingWindows
from videomae_train.data.stand_ins import make_fault
from videomae_train.errors import ConfigError, DecodeError, check_number
from videomae_train.evaluation.number_format import PrecisionName, computing_in
from videomae_train.inference.prediction import choose_num_workers, published_views
from videomae_train.inference.representation import EncoderModel, Pooling, Representation, encode_clips
from videomae_train.model import VideoMAEConfig, load_encoder
from videomae_train.types import Fault


@dataclass(frozen=True)
class VideoFeature:
    """The features of one video.

    Attributes:
        key: The video's name; see `FoundVideos.keys`, or a packed set's index.
        features: float32 (n, ...), one row for each clip; see `Representation.shape` for the rest. n is 0 where the
            video cannot be read.
        start_frames: int64 (n,), each clip's first frame.
        start_sec: float64 (n,), when that is shown, in seconds since the video's first frame; NaN if the file does not
            say.
        num_frames: Frames of the video; 0 where it cannot be read.
        fault: Why it cannot be read; None where it can.
    """

    key: str
    features: np.ndarray
    start_frames: np.ndarray
    start_sec: np.ndarray
    num_frames: int
    fault: Fault | None


class FeaturePiece(NamedTuple):
    """Features of some of a video's clips; arrays and marks as in `data.clip_stream.ClipPiece`."""

    place: int
    features: np.ndarray
    start_frames: np.ndarray
    start_sec: np.ndarray
    num_frames: int
    fault: Fault | None

    @property
    def is_last(self) -> bool:
        """Nothing of this video follows."""
        return self.num_frames >= 0 or self.fault is not None


class VideoFeatures:
    """An encoder for videos of any length, from files or a packed set.

    The same bytes give the same digits for the same `batch_clips`, whatever other videos there are.

    Args:
        model: An encoder or a classifier; it is moved to the device and left in evaluation mode.
        clips: Which clips are taken, of the model's clip size; None takes those of `published_views`.
        wanted: Layer and pooling.
        device: Where to compute; None takes a GPU if there is one.
        num_workers: As for `VideoPredictor`.
        batch_clips: Clips in a forward pass; all of one video.
        decode_timeout_sec: The longest that a decoder may take for the clips of one forward pass, or for all views of a
            video; then the video is a fault.
        precision: Of the matrix products: fp32, or bf16 or fp16 for mixed precision.

    Raises:
        ConfigError: The model has no such layer, or a number is out of range.
    """

    def __init__(
        self,
        model: EncoderModel,
        clips: ClipOptions | None = None,
        wanted: Representation | None = None,
        *,
        device: torch.device | str | None = None,
        num_workers: int | None = None,
        batch_clips: int = 8,
        decode_timeout_sec: float = 300.0,
        precision: PrecisionName = "fp32",
    ) -> None:
        check_number("batch_clips", batch_clips, least=1, such_as=8)
        self.wanted = Representation() if wanted is None else wanted
        self.wanted.depth(model.config)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model = model.to(self.device).eval()
        self.clips = published_views(model.config) if clips is None else clips
        self.num_workers = num_workers
        self.batch_clips = batch_clips
        self.decode_timeout_sec = decode_timeout_sec
        self.precision: PrecisionName = precision

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        layer: int = -1,
        pooling: Pooling = "mean",
        window_stride: int | None = None,
        num_clips: int = 5,
        num_crops: int | None = None,
        stride: int = 4,
        device: torch.device | str | None = None,
        num_workers: int | None = None,
        batch_clips: int = 8,
        decode_timeout_sec: float = 300.0,
        precision: PrecisionName = "fp32",
    ) -> Self:
        """Load an encoder; see `VideoFeatures`, `Representation` and `chosen_clips` for the arguments.

        Args:
            source: Weights of any class: a weights folder, a run's folder or checkpoint, an official file or a hub id.

        Raises:
            CheckpointError: The weights are missing or damaged.
            ConfigError: The model has no such layer, or a number is out of range.
        """
        model = load_encoder(source)
        clips = chosen_clips(
            model.config, window_stride=window_stride, num_clips=num_clips, num_crops=num_crops, stride=stride
        )
        return cls(
            model,
            clips,
            Representation(layer, pooling),
            device=device,
            num_workers=num_workers,
            batch_clips=batch_clips,
            decode_timeout_sec=decode_timeout_sec,
            precision=precision,
        )

    def extract(self, source: ClipSource) -> Iterator[VideoFeature]:
        """Compute the features of videos, each complete in memory, in the order in which they are finished.

        A video that cannot be read, or that a decoder hangs or crashes on, comes with a fault.

        Args:
            source: What `find_videos` gives, or `PackedVideos` of a packed set.

        Raises:
            ConfigError: Two videos have the same key.
            ShardError: A packed set is damaged.
        """
        begun: dict[int, list[FeaturePiece]] = {}
        for piece in self.pieces(source):
            pieces = begun.setdefault(piece.place, [])
            pieces.append(piece)
            if piece.is_last:
                yield _whole(source.key(piece.place), begun.pop(piece.place))

    def pieces(
        self, source: ClipSource, *, done: Collection[int] = (), begun: Mapping[int, int] | None = None
    ) -> Generator[FeaturePiece]:
        """Compute features as `extract`, piece by piece, so that a video may be of any length.

        Args:
            source: The videos.
            done: Places of those that are not wanted.
            begun: Clips that are there already of a video (place): so many from its first one on.
        """
        check_keys(source)
        places = {source.where(place): place for place in range(source.num_videos)}
        left = {place: 0 for place in range(source.num_videos) if place not in done}
        left |= {place: rows for place, rows in (begun or {}).items() if place in left}
        while left:
            try:
                for piece in self._load(source, left):
                    left[piece.place] += len(piece.clips)
                    if piece.is_last:
                        del left[piece.place]
                    yield self._encode(piece)
            except DecodeError as error:
                # A worker died of one video: give it up, and begin anew where the others are.
                place = places[error.where]
                del left[place]
                yield self._nothing(place, make_fault(source, place, -1, error))

    def _load(self, source: ClipSource, left: Mapping[int, int]) -> Iterator[ClipPiece]:
        stream = ClipStream(source, tuple(left), self.clips, clips_a_piece=self.batch_clips, begun=dict(left))
        options = LoaderOptions(
            num_workers=choose_num_workers(len(left)) if self.num_workers is None else self.num_workers,
            prefetch_batches=2,
            pin_memory=self.device.type == "cuda",
            decode_timeout_sec=self.decode_timeout_sec,
        )
        return iter(make_stream_loader(stream, source, options))

    def _encode(self, piece: ClipPiece) -> FeaturePiece:
        if piece.faults:
            return self._nothing(piece.place, piece.faults[0])
        rows = [self._rows(clips) for clips in piece.clips.split(self.batch_clips) if len(clips)]
        features = np.concatenate([self._no_rows(), *rows])
        return FeaturePiece(
            piece.place, features, piece.start_frames.numpy(), piece.start_sec.numpy(), piece.num_frames, None
        )

    def _rows(self, clips: Tensor) -> np.ndarray:
        on_device = clips.to(self.device, non_blocking=True)
        with computing_in(self.precision, self.device):
            return encode_clips(self.model, on_device, self.wanted).cpu().numpy()

    def _no_rows(self) -> np.ndarray:
        return np.zeros((0, *self.wanted.shape(self.model.config)), np.float32)

    def _nothing(self, place: int, fault: Fault) -> FeaturePiece:
        return FeaturePiece(place, self._no_rows(), np.zeros(0, np.int64), np.zeros(0), -1, fault)


def chosen_clips(
    config: VideoMAEConfig,
    *,
    window_stride: int | None = None,
    num_clips: int = 5,
    num_crops: int | None = None,
    stride: int = 4,
) -> ClipOptions:
    """Choose between the views of the published test and sliding windows over the whole video.

    Args:
        config: Of the model.
        window_stride: Frames of the video from one clip's beginning to the next one's; None takes the views.
        num_clips: Views: clips of each video.
        num_crops: Square crops of each clip along the longer side; None takes 3 in views, 1 in sliding windows.
        stride: Frames of the video from one frame of a clip to the next.

    Raises:
        ConfigError: The model's frames are not square, or a number is below 1.
    """
    crops = num_crops if num_crops is not None else 3 if window_stride is None else 1
    views = published_views(config, num_clips=num_clips, num_crops=crops, stride=stride)
    if window_stride is None:
        return views
    return SlidingWindows(views.num_frames, stride, window_stride, views.size, crops, views.antialias)


def check_keys(source: ClipSource) -> None:
    """Refuse videos that one name would stand for.

    Raises:
        ConfigError: There are two of the same key.
    """
    places: dict[str, int] = {}
    for place in range(source.num_videos):
        other = places.setdefault(source.key(place), place)
        if other != place:
            raise ConfigError(
                where="videos",
                came=f"{source.where(other)} and {source.where(place)}, both of the key {source.key(place)}",
                expected="videos whose keys differ",
                todo="Name the folder that holds both instead: keys are paths inside what is named.",
            )


def _whole(key: str, pieces: list[FeaturePiece]) -> VideoFeature:
    last = pieces[-1]
    kept = pieces if last.fault is None else [last]
    return VideoFeature(
        key=key,
        features=np.concatenate([piece.features for piece in kept]),
        start_frames=np.concatenate([piece.start_frames for piece in kept]),
        start_sec=np.concatenate([piece.start_sec for piece in kept]),
        num_frames=max(last.num_frames, 0),
        fault=last.fault,
    )
