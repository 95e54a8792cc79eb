"""Folders of extracted frames: one image after the other becomes a video."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from av.video.frame import VideoFrame

from videomae_train.data.container import (
    DECODER_ERRORS,
    check_one_size,
    decode_packets,
    opened,
    read_packets,
    typed_errors,
)
from videomae_train.data.encoding import Reencoding, encode_video
from videomae_train.data.source_files import list_source_folder, read_source_file
from videomae_train.data.sources.videos import IMAGE_EXTENSIONS, has_extension
from videomae_train.errors import DecodeCause, DecodeError


def encode_frame_folder(folder: Path, fps: float, options: Reencoding, *, where: str) -> bytes:
    """Encode the images of a folder, in the order of the numbers in their names.

    Args:
        folder: Images of one size; other files are passed by.
        fps: Frames per second.
        options: Size and quality.
        where: The place that an error names.

    Returns:
        An mp4 file with a frame for each image.

    Raises:
        DecodeError: There is no image, one cannot be read, or their sizes differ.
        VideoMAETrainError: The disk is in trouble.
    """
    files = list_source_folder(folder, where)
    images = sorted((path for path in files if has_extension(path, IMAGE_EXTENSIONS)), key=_order)
    if not images:
        raise DecodeError(where=where, cause=DecodeCause.ZERO_FRAMES, came="a folder without images")
    sizes: set[tuple[int, int]] = set()
    try:
        return encode_video(_frames(images, sizes, where), Fraction(fps).limit_denominator(1001), options)
    except DECODER_ERRORS as error:
        raise DecodeError(where=where, cause=DecodeCause.UNDECODABLE, came=str(error)) from error


def _order(path: Path) -> list[str | int]:
    """Sort frame2 before frame10; text and numbers alternate, so that like meets like."""
    parts = re.split(r"([0-9]+)", path.name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def _frames(images: list[Path], sizes: set[tuple[int, int]], where: str) -> Iterator[VideoFrame]:
    for path in images:
        place, content = f"{where}/{path.name}", read_source_file(path, where)
        with typed_errors(content, place), opened(content) as (container, stream):
            frame = next(decode_packets(stream, read_packets(container, stream)), None)
            if frame is None:
                raise DecodeError(
                    where=place, cause=DecodeCause.ZERO_FRAMES, came="an image without a picture"
                )
        sizes.add((frame.height, frame.width))
        check_one_size(sizes, where)
        yield frame
