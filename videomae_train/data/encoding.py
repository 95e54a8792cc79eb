"""Encoding videos so that random windows of them decode fast: small pictures, a keyframe every few frames.

A window that starts anywhere is decoded from the keyframe before it; ordinary files have one every 50 to 250
frames. Everything runs in one thread, so that the same frames give the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation

from videomae_train.data.container import (
    decode_packets,
    opened,
    read_packets,
    typed_errors,
    upright_pixels,
    upright_size,
)
from videomae_train.errors import ConfigError

_FALLBACK_FPS = Fraction(25)
# The largest denominator that an mp4 time base is given; 1001 and its multiples fit.
_MAX_DENOMINATOR = 2**16
# FFmpeg's number for "bt470bg", the matrix that its converter takes where a file names none (BT.601).
_BT601 = 5


@dataclass(frozen=True, kw_only=True)
class Reencoding:
    """How videos are encoded for training: H.264 in mp4, 8 bit, no audio.

    Attributes:
        short_side: Largest short side in pixels, even; larger pictures shrink to it, smaller ones stay. None
            keeps all sizes, but for a last odd row or column, which H.264 cannot hold.
        keyframe_interval: A keyframe at every so many frames, and nowhere else.
        crf: Constant rate factor of x264, 0 (lossless) to 51.

    Raises:
        ConfigError: A value that H.264 cannot do.
    """

    short_side: int | None = None
    keyframe_interval: int = 16
    crf: int = 23

    def __post_init__(self) -> None:
        side = self.short_side
        self._check("short_side", side is None or (side >= 16 and side % 2 == 0), "an even number from 16 on")
        self._check("keyframe_interval", self.keyframe_interval >= 1, "at least 1")
        self._check("crf", 0 <= self.crf <= 51, "0 (lossless) to 51")

    def _check(self, name: str, right: bool, expected: str) -> None:
        if not right:
            option, usual = (
                f"--{name.replace('_', '-')}",
                {"short_side": 256}.get(name, getattr(Reencoding, name)),
            )
            raise ConfigError(
                where=option,
                came=str(getattr(self, name)),
                expected=expected,
                todo=f"Give {option} {usual} or so.",
            )


def reencode(video: bytes, options: Reencoding, *, where: str) -> bytes:
    """Encode a video anew: every frame of it, upright, at a constant rate.

    The rate is the average that the file states (25 if it states none), so that a variable rate becomes
    constant at the same duration. Non-square pixels stay as they are stored.

    Args:
        video: The file's content.
        options: Size and quality.
        where: The place that an error names.

    Returns:
        An mp4 file.

    Raises:
        DecodeError: The video cannot be decoded.
    """
    with typed_errors(video, where), opened(video) as (container, stream):
        frames = decode_packets(stream, read_packets(container, stream))
        return encode_video(frames, Fraction(stream.average_rate or _FALLBACK_FPS), options)


def encode_video(frames: Iterable[VideoFrame], fps: Fraction, options: Reencoding) -> bytes:
    """Encode frames of one size as an mp4 file.

    Args:
        frames: At least one, in presentation order; their time stamps are replaced.
        fps: Frames per second.
        options: Size and quality.
    """
    file, fps = io.BytesIO(), fps.limit_denominator(_MAX_DENOMINATOR)
    pictures = _numbered(frames, fps, options.short_side)
    first = next(pictures)
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as output:
        stream = output.add_stream("libx264", rate=fps, options=_x264_options(options))
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, "yuv420p"
        context = stream.codec_context
        context.thread_count, context.time_base = 1, 1 / fps
        context.color_range, context.colorspace = first.color_range, first.colorspace
        for picture in (first, *pictures):
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return file.getvalue()


def _x264_options(options: Reencoding) -> dict[str, str]:
    return {
        "crf": str(options.crf),
        "preset": "fast",
        "tune": "fastdecode",
        "g": str(options.keyframe_interval),
        "keyint_min": str(options.keyframe_interval),
        "sc_threshold": "0",
        "bf": "0",
        "threads": "1",
        # Macroblock-tree rate control gave other bytes for the same small pictures in 5 % of encodings.
        "x264-params": "mbtree=0",
    }


def _numbered(frames: Iterable[VideoFrame], fps: Fraction, short_side: int | None) -> Iterator[VideoFrame]:
    for number, frame in enumerate(frames):
        picture = _fitted(frame, short_side)
        picture.pts, picture.time_base = number, 1 / fps
        yield picture


def _fitted(frame: VideoFrame, short_side: int | None) -> VideoFrame:
    """Make a picture upright, of even size, 8 bit 4:2:0 in video range; straight from the source where that will do."""
    height, width = upright_size(frame)
    new_height, new_width = _fitted_size(height, width, short_side)
    is_turned = (height, width) != (frame.height, frame.width) or frame.rotation
    is_trimmed = (height, width) != (new_height, new_width) and not _shrinks(height, width, short_side)
    if is_turned or is_trimmed:
        pixels = upright_pixels(frame)[:new_height, :new_width] if is_trimmed else upright_pixels(frame)
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    colorspace = frame.colorspace if frame.format.name.startswith("yuv") else _BT601
    return frame.reformat(
        new_width,
        new_height,
        "yuv420p",
        dst_colorspace=colorspace,
        dst_color_range=ColorRange.MPEG,
        interpolation=Interpolation.AREA if _shrinks(height, width, short_side) else Interpolation.BICUBIC,
        threads=1,
    )


def _shrinks(height: int, width: int, short_side: int | None) -> bool:
    return short_side is not None and min(height, width) > short_side


def _fitted_size(height: int, width: int, short_side: int | None) -> tuple[int, int]:
    """Shrink to the short side and round the other to an even number; else drop an odd row or column."""
    if min(height, width) < 2:
        raise ValueError(f"a picture of {height}x{width} is too small for H.264")
    if short_side is None or not _shrinks(height, width, short_side):
        return height - height % 2, width - width % 2
    long_side = 2 * round(max(height, width) * short_side / min(height, width) / 2)
    return (short_side, long_side) if height <= width else (long_side, short_side)
