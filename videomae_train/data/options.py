"""What a configuration can say about data; values are in configs/data/*.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from videomae_train.data.reading import StorageOptions
from videomae_train.data.transforms import CropKind
from videomae_train.errors import ConfigError


@dataclass(frozen=True)
class SetOptions:
    """One of several sets of a pretraining run.

    Attributes:
        path: Folder or URL of the packed data set.
        selection: "all", or split and part such as "split1/train".
        stride: Frames of the video from one frame of the clip to the next.
    """

    path: str | Path
    selection: str
    stride: int


@dataclass(frozen=True)
class PretrainDataOptions:
    """Videos and clips of a pretraining run: of one set (path, selection, stride), or of several (sets).

    Attributes:
        path: Folder or URL of the packed data set.
        selection: "all", or split and part such as "split1/train".
        num_frames: Frames of a clip.
        stride: Frames of the video from one frame of the clip to the next.
        sets: Name -> path, selection and stride, instead of the three above; the order of mentioning is without
            meaning.
        size: Side of a clip in pixels.
        views: Clips made of each decoded window, each with its own crop and mask.
        crop: How a view is cropped.
        flip: Mirror half of the views. Published: never for pretraining; wrong where left and right are
        classes.
        shuffle_window_videos: Videos that are shuffled together; at least four global batches.
    """

    path: str | Path | None
    selection: str | None
    num_frames: int
    stride: int | None
    sets: Mapping[str, SetOptions] | None
    size: int
    views: int
    crop: CropKind
    flip: bool
    shuffle_window_videos: int

    def __post_init__(self) -> None:
        """Refuse anything between one set and several."""
        of_one = {"path": self.path, "selection": self.selection, "stride": self.stride}
        given = [name for name, value in of_one.items() if value is not None]
        if len(given) != (0 if self.sets else len(of_one)):
            raise ConfigError(
                where="data.path, data.selection, data.stride, data.sets",
                came=f"values of {', '.join(given) or 'none of the first three'}"
                f" and {'sets ' + ', '.join(self.sets) if self.sets else 'no sets'}",
                expected="either path, selection and stride, or sets which have their own",
                todo="Give data.path=<folder> for one set; take data=hybrid for several.",
            )

    @property
    def members(self) -> Mapping[str, SetOptions]:
        """The sets of the run by name; a single one without a name is called ""."""
        if self.sets:
            return self.sets
        assert self.path is not None
        assert self.selection is not None
        assert self.stride is not None
        return {"": SetOptions(self.path, self.selection, self.stride)}


@dataclass(frozen=True)
class FinetuneDataOptions:
    """Labelled videos and clips of a fine-tuning run.

    Attributes:
        path: Folder or URL of the packed data set.
        selection: The videos to train on, such as "split1/train".
        val_selection: The videos to validate on, such as "split1/test".
        per_class: Train on so many videos of each class only; null takes all.
        per_class_seed: Decides which ones.
        num_frames: Frames of a clip.
        stride: Frames of the video from one frame of the clip to the next; the dense window spans
            num_frames * stride of them, both ends included.
        size: Side of a clip in pixels.
        views: Clips made of each decoded window, each with its own augmentation (published: 2).
        crop: How a view is cropped.
        flip: Mirror half of the views; off where left and right are classes (Something-Something).
        randaugment_num_ops: RandAugment operations on each view; 0 switches it off.
        randaugment_magnitude: Their strength, 0..30.
        shuffle_window_videos: Videos that are shuffled together; at least four global batches.
    """

    path: str | Path
    selection: str
    val_selection: str
    per_class: int | None
    per_class_seed: int
    num_frames: int
    stride: int
    size: int
    views: int
    crop: CropKind
    flip: bool
    randaugment_num_ops: int
    randaugment_magnitude: int
    shuffle_window_videos: int


@dataclass(frozen=True)
class EvaluationDataOptions:
    """Videos of an evaluation and the views taken of each.

    Attributes:
        path: Folder or URL of the packed data set.
        selection: The videos to score, such as "split1/test".
        num_frames: Frames of a clip.
        stride: Frames of the video from one frame of the clip to the next.
        size: Side of a clip in pixels.
        windows: "spread": clips evenly from the first to the last frame (published test mode);
        "middle_dense": one
            clip from the middle, spaced as in fine-tuning (published validation).
        num_clips: Clips of each video; 1 with "middle_dense".
        num_crops: Square crops of each clip along the longer side.
    """

    path: str | Path
    selection: str
    num_frames: int
    stride: int
    size: int
    windows: Literal["spread", "middle_dense"]
    num_clips: int
    num_crops: int


@dataclass(frozen=True)
class LoaderOptions:
    """How batches are made on this machine; changes nothing in them.

    Attributes:
        num_workers: Child processes that decode; 0 decodes in the main process.
        prefetch_batches: Batches that each worker keeps ready.
        pin_memory: Put batches into page-locked memory, for faster copies to a GPU.
        decode_timeout_sec: The longest that a worker may take to make one video's clips; then the run ends and names
            it. Without workers nothing can end a decoder that hangs.
        storage: Cache and patience for remote shards.
    """

    num_workers: int
    prefetch_batches: int
    pin_memory: bool
    decode_timeout_sec: float
    storage: StorageOptions = field(default_factory=StorageOptions)

    def __post_init__(self) -> None:
        """Refuse a limit that nothing keeps."""
        if self.decode_timeout_sec <= 0:
            raise ConfigError(
                where="loader.decode_timeout_sec",
                came=str(self.decode_timeout_sec),
                expected="more than 0 seconds",
                todo="Give more than the slowest good video takes, such as 60.",
            )
