"""Clips at even distances over a whole video of any length: each frame is decoded and resized once."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from torch import Tensor

from videomae_train.data.frame_stream import ShownFrame
from videomae_train.data.transforms import as_clip, crop_views
from videomae_train.errors import check_number

_FRAMES_AT_ONCE = 16  # resized in one call; more frames of full size are never held


@dataclass(frozen=True)
class SlidingWindows:
    """Clips whose first frames are 0, d, 2 d, ... of the video, as long as the whole clip fits into it.

    A video shorter than one clip gives one, in which its last frame is repeated. The frames after the last clip, fewer
    than `window_stride`, are in none.

    Attributes:
        num_frames: Frames of a clip.
        stride: Frames of the video from one frame of a clip to the next.
        window_stride: Frames of the video from the beginning of one clip to that of the next, d.
        size: Side of a clip in pixels.
        num_crops: Square crops of each clip along the longer side.
        antialias: As in `ViewOptions`.

    Raises:
        ConfigError: A number is below 1.
    """

    num_frames: int
    stride: int
    window_stride: int
    size: int
    num_crops: int
    antialias: bool

    def __post_init__(self) -> None:
        """Check what would never end, or give nothing."""
        usual = {"num_frames": 16, "stride": 4, "window_stride": 64, "size": 224, "num_crops": 1}
        for name, such_as in usual.items():
            check_number(name, getattr(self, name), least=1, such_as=such_as)

    @property
    def reach(self) -> int:
        """Frames of the video from a clip's first to its last."""
        return (self.num_frames - 1) * self.stride

    def frames(self, window: int, num_frames: int | None = None) -> list[int]:
        """List a clip's frames; of a video that has only so many, the last one it reaches is repeated."""
        start = window * self.window_stride
        frames = [start + self.stride * place for place in range(self.num_frames)]
        if num_frames is None:
            return frames
        last = start + (num_frames - 1 - start) // self.stride * self.stride
        return [min(frame, last) for frame in frames]

    def takes(self, frame: int, first: int) -> bool:
        """Say whether any clip from number `first` on shows a frame."""
        earliest = max(first, -(-(frame - self.reach) // self.window_stride))
        latest = frame // self.window_stride
        return any(
            (frame - window * self.window_stride) % self.stride == 0 for window in range(earliest, latest + 1)
        )


class Window(NamedTuple):
    """One clip of a video.

    Attributes:
        clips: uint8 (num_crops, T, S, S, C), RGB 0..255.
        start_frame: Its first frame.
        start_sec: When that is shown, in seconds since the video's first frame; NaN if the file does not say.
    """

    clips: Tensor
    start_frame: int
    start_sec: float


def sliding_windows(
    frames: Iterable[ShownFrame], options: SlidingWindows, *, first: int = 0
) -> Generator[Window, None, int]:
    """Cut clips out of a video as its frames come, from clip number `first` on.

    Yields:
        The clips, in order.

    Returns:
        The frames of the video.
    """
    shelf = _Shelf(options)
    window, count = first, 0
    for number, frame in enumerate(frames):
        count = number + 1
        if options.takes(number, window):
            shelf.put(number, frame)
        if number == window * options.window_stride + options.reach:
            yield shelf.window(options.frames(window))
            window += 1
            shelf.forget_before(window * options.window_stride)
    if window == 0 and count:
        yield shelf.window(options.frames(0, count))
    return count


class _Shelf:
    """The frames that clips still to come are made of, resized."""

    def __init__(self, options: SlidingWindows) -> None:
        self._options = options
        self._converter = VideoReformatter()
        self._fresh: dict[int, np.ndarray] = {}
        self._crops: dict[int, Tensor] = {}
        self._sec: dict[int, float] = {}

    def put(self, number: int, frame: ShownFrame) -> None:
        """Take a frame in."""
        self._fresh[number] = frame.pixels(self._converter)
        self._sec[number] = frame.sec
        if len(self._fresh) == _FRAMES_AT_ONCE:
            self._resize()

    def window(self, numbers: list[int]) -> Window:
        """Make a clip of frames that were put in."""
        self._resize()
        clips = torch.stack([self._crops[number] for number in numbers], dim=1)
        return Window(clips, numbers[0], self._sec[numbers[0]])

    def forget_before(self, number: int) -> None:
        """Drop the frames before one."""
        for frame in [each for each in self._crops if each < number]:
            del self._crops[frame], self._sec[frame]

    def _resize(self) -> None:
        if not self._fresh:
            return
        options = self._options
        frames = as_clip(np.stack(list(self._fresh.values())))
        crops = crop_views(frames, options.size, options.num_crops, antialias=options.antialias)
        pictures = crops.permute(0, 1, 3, 4, 2)  # as they lie
        self._crops.update(zip(self._fresh, pictures.unbind(1), strict=True))
        self._fresh.clear()
