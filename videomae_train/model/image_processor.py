"""Frames in, pixel values out: the same numbers as transformers' VideoMAEImageProcessor."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from videomae_train.errors import CheckpointError, ConfigError
from videomae_train.model.folder_files import PROCESSOR, processor_file
from videomae_train.model.saving import processor_to_json
from videomae_train.model.sources import folder_of, read_config

Frame = Image | NDArray[Any] | Tensor
Video = Sequence[Frame] | NDArray[Any] | Tensor

_PIL_FILTERS = {
    0: InterpolationMode.NEAREST,
    2: InterpolationMode.BILINEAR,
    3: InterpolationMode.BICUBIC,
}


class ProcessedVideos(dict[str, Any]):
    """A dictionary with `pixel_values`, to be passed on as `model(**inputs)`."""

    @property
    def pixel_values(self) -> Any:
        """Float32 (B, T, C, H, W) with return_tensors, else a list of (T, C, H, W)."""
        return self["pixel_values"]


@dataclass(frozen=True)
class VideoMAEImageProcessor:
    """Resizes, crops and normalises the frames of videos.

    The defaults are transformers' class defaults (mean and deviation 0.5); published weights carry ImageNet's
    values in their `preprocessor_config.json`, which `from_pretrained` reads.

    Attributes:
        do_resize: Resize, keeping the aspect ratio.
        size: {"shortest_edge": pixels} or {"height": pixels, "width": pixels}.
        resample: PIL's number of the filter: 2 bilinear, 3 bicubic, 0 nearest; antialiased.
        do_center_crop: Crop the middle; smaller frames are padded with zeros.
        crop_size: {"height": pixels, "width": pixels}.
        do_rescale: Multiply by `rescale_factor`. Switch it off for pixels that are in [0, 1] already.
        rescale_factor: 1/255 for bytes.
        do_normalize: Subtract the mean, divide by the deviation.
        image_mean: Per channel, on rescaled pixels.
        image_std: Per channel, likewise.
    """

    do_resize: bool = True
    size: dict[str, int] = field(default_factory=lambda: {"shortest_edge": 224})
    resample: int = 2
    do_center_crop: bool = True
    crop_size: dict[str, int] = field(default_factory=lambda: {"height": 224, "width": 224})
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    do_normalize: bool = True
    image_mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    image_std: tuple[float, ...] = (0.5, 0.5, 0.5)

    def __call__(
        self,
        videos: Video | Sequence[Video],
        return_tensors: Literal["pt", "np"] | None = None,
        do_rescale: bool | None = None,
    ) -> ProcessedVideos:
        """Process one video or a batch.

        Args:
            videos: A list of frames, or a 4-D array or tensor, is one video; a list of those is a batch; one
                frame is a video of one frame. Frames are PIL images, (H, W, C) or (C, H, W), with values
                0..255.
            return_tensors: "pt" or "np" stacks the videos, which then need equal frame counts; None gives a
                list.
            do_rescale: Overrides the attribute for this call.

        Raises:
            ConfigError: The input is none of these.
        """
        if do_rescale is not None:
            return replace(self, do_rescale=do_rescale)(videos, return_tensors)
        clips = [torch.stack([self._process(frame) for frame in video]) for video in _as_batch(videos)]
        if return_tensors is None:
            return ProcessedVideos(pixel_values=clips)
        batch = torch.stack(clips)
        return ProcessedVideos(pixel_values=batch if return_tensors == "pt" else batch.numpy())

    @classmethod
    def from_pretrained(cls, source: str | Path) -> Self:
        """Read `preprocessor_config.json` of a weights folder, a run's folder or a hub id.

        Where transformers 5 saved its video processor alone, `video_preprocessor_config.json` has the values.
        For one file (official weights, a run's checkpoint) the values follow from its configuration.

        Raises:
            CheckpointError: There is none.
        """
        if Path(source).is_file():
            return cls(**_own_values(processor_to_json(read_config(source))))
        folder = folder_of(source)
        file = processor_file(folder)
        if not file.is_file():
            file = processor_file(folder / "weights")
        try:
            values = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise CheckpointError(
                where=str(file),
                came=f"{type(error).__name__}: {error}",
                expected="a weights folder with an image processor's values",
                todo="Save the folder again, or make the processor from its values.",
            ) from error
        return cls(**_own_values(values))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `preprocessor_config.json` into a folder, which is made if need be."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        values = {"image_processor_type": "VideoMAEImageProcessor", **asdict(self)}
        (Path(folder) / PROCESSOR).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")

    def _process(self, frame: Frame) -> Tensor:
        """Turn one frame into float32 (C, H, W)."""
        pixels = _channels_first(frame)
        if self.do_resize:
            pixels = tv.resize(pixels, self._resized(pixels), interpolation=_PIL_FILTERS[self.resample])
        if self.do_center_crop:
            pixels = _crop_middle(pixels, self.crop_size["height"], self.crop_size["width"])
        scale = self.rescale_factor if self.do_rescale else 1.0
        if not self.do_normalize:
            return pixels * scale
        # One affine map instead of two, on the scale of the input, as transformers rounds it.
        mean, deviation = torch.tensor(self.image_mean), torch.tensor(self.image_std)
        return tv.normalize(
            pixels.float(),
            cast("list[float]", mean * (1.0 / scale)),
            cast("list[float]", deviation * (1.0 / scale)),
        )

    def _resized(self, pixels: Tensor) -> list[int]:
        if "shortest_edge" not in self.size:
            return [self.size["height"], self.size["width"]]
        height, width = pixels.shape[-2:]
        short = self.size["shortest_edge"]
        long = int(short * max(height, width) / min(height, width))
        return [long, short] if width <= height else [short, long]


@dataclass(frozen=True)
class VideoMAEFeatureExtractor(VideoMAEImageProcessor):
    """The deprecated name of `VideoMAEImageProcessor`."""

    def __post_init__(self) -> None:
        warnings.warn(
            "VideoMAEFeatureExtractor is now called VideoMAEImageProcessor", DeprecationWarning, stacklevel=3
        )


def _own_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the fields out of the file; older files give sizes as one number."""
    own = {spec.name: values[spec.name] for spec in fields(VideoMAEImageProcessor) if spec.name in values}
    if isinstance(own.get("size"), int):
        own["size"] = {"shortest_edge": own["size"]}
    if isinstance(own.get("crop_size"), int):
        own["crop_size"] = {"height": own["crop_size"], "width": own["crop_size"]}
    for name in ("image_mean", "image_std"):
        if name in own:
            own[name] = tuple(own[name])
    return own


def _as_batch(videos: object) -> list[list[Frame]]:
    """Sort out what is a frame, a video and a batch."""
    if _is_frame(videos):
        return [[cast("Frame", videos)]]
    if _is_video(videos):
        return [list(cast("Sequence[Frame]", videos))]
    if isinstance(videos, list | tuple) and videos and all(map(_is_video, cast("list[object]", videos))):
        return [list(video) for video in cast("list[Sequence[Frame]]", videos)]
    shape = tuple(videos.shape) if isinstance(videos, np.ndarray | Tensor) else type(videos).__name__
    raise ConfigError(
        where="videos",
        came=str(shape),
        expected="a frame, a list of frames, a 4-D array, or a list of videos",
        todo="Pass batches as a list of videos.",
    )


def _is_frame(value: object) -> bool:
    return isinstance(value, Image) or (isinstance(value, np.ndarray | Tensor) and value.ndim in (2, 3))


def _is_video(value: object) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(map(_is_frame, cast("list[object]", value)))
    return isinstance(value, np.ndarray | Tensor) and value.ndim == 4


def _channels_first(frame: Frame) -> Tensor:
    """Give a frame as (C, H, W); three axes are channels first if the first one can be that."""
    pixels = frame if isinstance(frame, Tensor) else torch.from_numpy(np.array(frame))
    if pixels.ndim == 2:
        return pixels.unsqueeze(0)
    first, last = pixels.shape[0] in (1, 3, 4), pixels.shape[-1] in (1, 3, 4)
    if isinstance(frame, Image) or (last and not first):
        return pixels.permute(2, 0, 1).contiguous()
    if first:
        return pixels.contiguous()
    raise ConfigError(
        where="videos",
        came=f"a frame of shape {tuple(pixels.shape)}",
        expected="(H, W, C) or (C, H, W) with 1, 3 or 4 channels",
        todo="Move the channels to the front or the back.",
    )


def _crop_middle(pixels: Tensor, height: int, width: int) -> Tensor:
    missing_h, missing_w = max(height - pixels.shape[-2], 0), max(width - pixels.shape[-1], 0)
    if missing_h or missing_w:
        border = [missing_w // 2, missing_h // 2, (missing_w + 1) // 2, (missing_h + 1) // 2]
        pixels = tv.pad(pixels, border, fill=0)
    top, left = (pixels.shape[-2] - height) // 2, (pixels.shape[-1] - width) // 2
    return pixels[..., top : top + height, left : left + width]
