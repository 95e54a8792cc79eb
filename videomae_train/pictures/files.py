"""Writing images and short videos that every viewer opens."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from videomae_train.errors import ConfigError

Pixels = NDArray[np.uint8]


def check_pixels(pixels: Pixels, *, ndim: int, where: str) -> None:
    """Refuse what is not uint8 RGB with the channels last.

    Raises:
        ConfigError: Another type, number of axes or of channels, or an empty axis.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != ndim or pixels.shape[-1] != 3 or 0 in pixels.shape:
        raise ConfigError(
            where=where,
            came=f"{pixels.dtype} of shape {pixels.shape}",
            expected=f"uint8 of shape {'(T, H, W, 3)' if ndim == 4 else '(H, W, 3)'}, RGB",
            todo="Scale to 0..255 and move the channels last.",
        )


def write_png(path: Path, image: Pixels) -> None:
    """Write one image without loss.

    Args:
        path: Ends in .png; missing folders are made.
        image: uint8 (H, W, 3), RGB.

    Raises:
        ConfigError: The array is no such image.
    """
    check_pixels(image, ndim=3, where=str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, format="PNG")


def webp_bytes(image: Pixels, width: int) -> bytes:
    """Encode one image as a small WebP, for a page that holds many.

    Args:
        image: uint8 (H, W, 3), RGB.
        width: Pixels that it is scaled down to; a narrower one stays as it is.

    Raises:
        ConfigError: The array is no such image.
    """
    check_pixels(image, ndim=3, where="webp_bytes")
    picture = Image.fromarray(image)
    picture.thumbnail((width, 4 * width))
    file = BytesIO()
    picture.save(file, format="WEBP", quality=80)
    return file.getvalue()


def write_mp4(path: Path, frames: Pixels, fps: float) -> None:
    """Write an H.264 video that browsers and players open, under its name once it is whole.

    Players want halved colour resolution, and that wants even sizes: an odd last row or column is repeated.

    Args:
        path: Ends in .mp4; missing folders are made.
        frames: uint8 (T, H, W, 3), RGB.
        fps: Frames per second.

    Raises:
        ConfigError: The array holds no such frames.
    """
    check_pixels(frames, ndim=4, where=str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    even = np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")
    options = {"crf": "14", "preset": "medium"}
    partial = path.with_name(f"{path.name}.unfinished")
    with av.open(str(partial), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=options)
        stream.height, stream.width, stream.pix_fmt = even.shape[1], even.shape[2], "yuv420p"
        for frame in even:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    partial.replace(path)


def write_gif(path: Path, frames: Pixels, fps: float) -> None:
    """Write a GIF that loops for ever, all frames on one palette so that still parts do not flicker.

    Args:
        path: Ends in .gif; missing folders are made.
        frames: uint8 (T, H, W, 3), RGB.
        fps: Frames per second; GIF counts in hundredths of a second, and viewers slow down what is under two.

    Raises:
        ConfigError: The array holds no such frames.
    """
    check_pixels(frames, ndim=4, where=str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    palette = Image.fromarray(frames.reshape(-1, *frames.shape[2:])).quantize(256)
    images = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    duration_ms = max(2, round(100 / fps)) * 10
    images[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=duration_ms,
        loop=0,
        optimize=False,
    )
