"""What a configuration can say about data; values are in configs/data/*.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from videomae_train.data.processors import workers_of_rank
from videomae_train.data.randaugment import PUBLISHED, is_randaugment
from videomae_train.data.reading import StorageOptions
from videomae_train.data.transforms import CropKind, Resampling
from videomae_train.errors import ConfigError, check_number

CropPlace = Literal["cpu", "device"]
TrainingWindows = Literal["dense", "strided", "uniform", "uniform_v1"]
TestWindows = Literal["spread", "interleaved", "first", "middle_dense", "middle_strided", "middle_uniform"]

# Windows that span the whole video, whatever its length.
_WITHOUT_PACE = ("uniform", "uniform_v1", "interleaved", "middle_uniform")


@dataclass(frozen=True)
class SetOptions:
    """One of several sets of a pretraining run.

    Attributes:
        path: Folder or URL of the packed data set.
        selection: "all", or split and part such as "split1/train".
        stride: Frames of the video from one frame of the clip to the next; null where the run counts in seconds.
    """

    path: str | Path
    selection: str
    stride: int | None


@dataclass(frozen=True)
class PretrainDataOptions:
    """Videos and clips of a pretraining run: of one set (path, selection, stride), or of several (sets).

    Attributes:
        path: Folder or URL of the packed data set.
        selection: "all", or split and part such as "split1/train".
        num_frames: Frames of a clip.
        stride: Frames of the video from one frame of the clip to the next; null where `frame_interval_sec` says it.
        frame_interval_sec: Seconds from one frame of the clip to the next, in all sets; by each video's average rate,
            the nearest frame.
        sets: Name -> path, selection and stride, instead of those above; the order of mentioning is without meaning.
        size: Side of a clip in pixels.
        views: Clips made of each decoded window, each with its own crop and mask.
        view_jitter_frames: Largest distance between the starts of a video's views; so many frames more are decoded,
            once. 0: all views show the same window (published).
        crop: How a view is cropped.
        flip: Mirror half of the views. Published: never for pretraining; wrong where left and right are
            classes.
        crop_on: Where crops are cut and resized: "cpu" in the loader's workers, "device" in one call for the whole
            micro-batch, with the same pixels.
        shuffle_window_videos: Videos that are shuffled together; at least four global batches.

    Raises:
        ConfigError: Two options contradict each other.
    """

    path: str | Path | None
    selection: str | None
    num_frames: int
    stride: int | None
    frame_interval_sec: float | None
    sets: Mapping[str, SetOptions] | None
    size: int
    views: int
    view_jitter_frames: int
    crop: CropKind
    flip: bool
    crop_on: CropPlace
    shuffle_window_videos: int

    def __post_init__(self) -> None:
        """Refuse anything between one set and several, and a pace given twice or not at all."""
        of_one = {"path": self.path, "selection": self.selection}
        given = [name for name, value in of_one.items() if value is not None]
        wanted = 0 if self.sets else len(of_one)
        if len(given) != wanted or (self.sets and self.stride is not None):
            given += ["stride"] * (self.stride is not None)
            raise ConfigError(
                where="data.path, data.selection, data.stride, data.sets",
                came=f"values of {', '.join(given) or 'none of the first three'}"
                f" and {'sets ' + ', '.join(self.sets) if self.sets else 'no sets'}",
                expected="either path, selection and stride, or sets which have their own",
                todo="Give data.path=<folder> for one set; take data=pretrain_hybrid for several.",
            )
        for name, member in self.members.items():
            _check_pace(
                "strided", member.stride, self.frame_interval_sec, f"sets.{name}.stride" if name else "stride"
            )
        _check_jitter("strided", self.view_jitter_frames)
        _check_views_and_window(self.views, self.shuffle_window_videos)

    @property
    def members(self) -> Mapping[str, SetOptions]:
        """The sets of the run by name; a single one without a name is called ""."""
        if self.sets:
            return self.sets
        assert self.path is not None
        assert self.selection is not None
        return {"": SetOptions(self.path, self.selection, self.stride)}


@dataclass(frozen=True)
class FinetuneDataOptions:
    """Labelled videos and clips of a fine-tuning run.

    Attributes:
        path: Folder or URL of the packed data set.
        selection: The videos to train on, such as "split1/train".
        val_selection: The videos to validate on, such as "split1/val"; null does not validate.
        per_class: Train on so many videos of each class only; null takes all.
        per_class_seed: Decides which ones.
        num_frames: Frames of a clip.
        windows: "dense": num_frames * stride frames at a random place, both ends included, which makes the published
            spacing 64/15 for 16 frames at stride 4; "strided": exactly the stride; "uniform": a random frame of each of
            num_frames equal parts of the whole video (TSN, published for Something-Something); "uniform_v1": the same,
            but a video of fewer frames than the clip gives its first frame only (as VideoMAE; "uniform" as V2).
            Validation takes the middle one of the same kind.
        stride: Frames of the video from one frame of the clip to the next; null with uniform windows, or where
            `frame_interval_sec` says it.
        frame_interval_sec: Seconds from one frame of the clip to the next; by each video's average rate, the nearest
            frame.
        size: Side of a clip in pixels.
        views: Clips made of each decoded window, each with its own augmentation (published: 2).
        view_jitter_frames: As for pretraining; 0 with uniform windows.
        crop: How a view is cropped.
        crop_resampling: "uint8_antialias", or "float_no_antialias" as published, whose clips are four times as large.
        crop_on: As for pretraining.
        flip: Mirror half of the views; off where left and right are classes (Something-Something).
        randaugment: timm's notation of the operations on each view's whole frames; null switches them off.
        erase_probability: Share of clips that have a random box filled with noise, in [0, 1].
        shuffle_window_videos: Videos that are shuffled together; at least four global batches.

    Raises:
        ConfigError: Two options contradict each other, or one is out of range.
    """

    path: str | Path
    selection: str
    val_selection: str | None
    per_class: int | None
    per_class_seed: int
    num_frames: int
    windows: TrainingWindows
    stride: int | None
    frame_interval_sec: float | None
    size: int
    views: int
    view_jitter_frames: int
    crop: CropKind
    crop_resampling: Resampling
    crop_on: CropPlace
    flip: bool
    randaugment: str | None
    erase_probability: float
    shuffle_window_videos: int

    def __post_init__(self) -> None:
        """Check what one field alone cannot show."""
        _check_pace(self.windows, self.stride, self.frame_interval_sec)
        _check_jitter(self.windows, self.view_jitter_frames)
        _check_views_and_window(self.views, self.shuffle_window_videos)
        _check_few(self.per_class, self.per_class_seed)
        if self.randaugment is not None and not is_randaugment(self.randaugment):
            raise _error(
                "randaugment", repr(self.randaugment), f"timm's notation such as {PUBLISHED}, or null",
                "Correct it; null switches RandAugment off.",
            )  # fmt: skip
        if not 0.0 <= self.erase_probability <= 1.0:
            raise _error(
                "erase_probability", str(self.erase_probability), "a share in [0, 1] (published: 0.25)",
                "Correct it; 0 switches erasing off.",
            )  # fmt: skip


@dataclass(frozen=True)
class ViewOptions:
    """The views that are taken of a video to classify it.

    Attributes:
        num_frames: Frames of a clip.
        windows: "spread": clips evenly from the first to the last frame (published test mode); "interleaved": clips
            that each span the whole video and take its frames in turn (published for Something-Something);
            "middle_dense", "middle_strided", "middle_uniform": one clip, the middle one of that fine-tuning window
            (published validation); "first": one clip from the beginning, as transformers' pipeline takes it with PyAV.
        stride: Frames of the video from one frame of the clip to the next; null with windows that span the whole video,
            or where `frame_interval_sec` says it.
        frame_interval_sec: Seconds from one frame of the clip to the next; by each video's average rate, the nearest
            frame.
        size: Side of a clip in pixels.
        num_clips: Clips of each video; 1 with the first and middle windows.
        num_crops: Square crops of each clip along the longer side.
        antialias: Shrink pictures with an antialiasing filter; the published code (cv2) does without.

    Raises:
        ConfigError: Two options contradict each other.
    """

    num_frames: int
    windows: TestWindows
    stride: int | None
    frame_interval_sec: float | None
    size: int
    num_clips: int
    num_crops: int
    antialias: bool

    def __post_init__(self) -> None:
        """Check what one field alone cannot show."""
        _check_pace(self.windows, self.stride, self.frame_interval_sec)
        check_number("data.num_clips", self.num_clips, least=1, such_as=1)
        check_number("data.num_crops", self.num_crops, least=1, such_as=1)
        if self.windows.startswith(("first", "middle")) and self.num_clips != 1:
            raise _error(
                "num_clips", f"{self.num_clips} clips with windows={self.windows}", "one clip from there",
                "Set num_clips=1 or windows=spread.",
            )  # fmt: skip


@dataclass(frozen=True)
class EvaluationDataOptions(ViewOptions):
    """Videos of an evaluation and the views taken of each.

    Attributes:
        path: Folder or URL of the packed data set.
        selection: The videos to score, such as "split1/test".
        recordings: Regular expression that finds in a video's key which recording it was cut from, for intervals; None
            counts each video as one of its own.
    """

    path: str | Path
    selection: str
    recordings: str | None = None


@dataclass(frozen=True)
class NeighbourDataOptions(ViewOptions):
    """Labelled videos that vote, videos that are classified by them, and the views taken of each.

    Attributes:
        path: Folder or URL of the packed data set.
        selection: The videos that vote, such as "split1/train".
        val_selection: The videos to classify, such as "split1/test".
        per_class: So many voting videos of each class only; null takes all.
        per_class_seed: Decides which ones.
        recordings: As in `EvaluationDataOptions`, of the classified videos.
    """

    path: str | Path
    selection: str
    val_selection: str
    per_class: int | None
    per_class_seed: int
    recordings: str | None = None

    def __post_init__(self) -> None:
        """Check the views, and who votes."""
        super().__post_init__()
        _check_few(self.per_class, self.per_class_seed)


def _check_views_and_window(views: int, shuffle_window_videos: int) -> None:
    check_number("data.views", views, least=1, such_as=1)
    check_number("data.shuffle_window_videos", shuffle_window_videos, least=1, such_as=16384)


def _check_few(per_class: int | None, seed: int) -> None:
    check_number("data.per_class", per_class, least=1, such_as=10)
    check_number("data.per_class_seed", seed, least=0, such_as=0)


def _check_pace(windows: str, stride: int | None, interval_sec: float | None, field: str = "stride") -> None:
    """Refuse a pace given twice, not at all, or to windows that have none."""
    given = {"stride": stride, "frame_interval_sec": interval_sec}
    came = ", ".join(f"{name}={'null' if value is None else value}" for name, value in given.items())
    if windows in _WITHOUT_PACE:
        if stride is not None or interval_sec is not None:
            raise _error(
                field, f"{came} with windows={windows}", "null for both: the clip spans the whole video"
            )
    elif (stride is None) == (interval_sec is None):
        raise _error(field, came, "either frames or seconds between the frames of a clip")
    elif (stride is not None and stride <= 0) or (interval_sec is not None and interval_sec <= 0):
        raise _error(field, came, "a number above 0")


def _check_jitter(windows: str, jitter: int) -> None:
    if jitter < 0 or (jitter > 0 and windows in _WITHOUT_PACE):
        raise _error(
            "view_jitter_frames", f"{jitter} with windows={windows}", "0 or more frames, 0 if uniform"
        )


def _error(name: str, came: str, expected: str, todo: str = "Change one of them.") -> ConfigError:
    return ConfigError(where=f"data.{name}", came=came, expected=expected, todo=todo)


@dataclass(frozen=True)
class LoaderOptions:
    """How batches are made on this machine; changes nothing in them.

    Attributes:
        num_workers: Child processes that decode; 0 decodes in the main process, auto shares this machine's processors
            among its ranks.
        prefetch_batches: Batches that each worker keeps ready.
        pin_memory: Put batches into page-locked memory, from which they go to a GPU without the host waiting; auto does
            so where a run computes on a GPU.
        decode_timeout_sec: The longest that a worker may take to make one video's clips; then the run ends and names
            it. Without workers nothing can end a decoder that hangs.
        storage: Cache and patience for remote shards.
    """

    num_workers: int | Literal["auto"]
    prefetch_batches: int
    pin_memory: bool | Literal["auto"]
    decode_timeout_sec: float
    storage: StorageOptions = field(default_factory=StorageOptions)

    def __post_init__(self) -> None:
        """Refuse counts that are none, and a limit that nothing keeps.

        Raises:
            ConfigError: A number is out of range.
        """
        if self.num_workers != "auto":
            check_number("loader.num_workers", self.num_workers, least=0, such_as=4)
        check_number("loader.prefetch_batches", self.prefetch_batches, least=1, such_as=2)
        # More than the slowest good video takes.
        check_number("loader.decode_timeout_sec", self.decode_timeout_sec, above=0, such_as=60)

    @property
    def workers(self) -> int:
        """Child processes that decode; where auto is not settled for several ranks, those of a single one."""
        return workers_of_rank(1) if self.num_workers == "auto" else self.num_workers
