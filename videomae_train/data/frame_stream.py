"""Videos of any length, frame by frame from beginning to end."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from videomae_train.data.container import (
    VideoContent,
    check_end,
    check_one_size,
    opened,
    typed_errors,
    upright_pixels,
    upright_size,
)
from videomae_train.errors import DecodeCause, DecodeError


@dataclass(frozen=True)
class ShownFrame:
    """A frame as it leaves the decoder, before its pixels are converted.

    Attributes:
        sec: Seconds since the first frame, by the file's time stamps; NaN where it has none.
        frame: The decoder's frame; `pixels` makes an array of it.
    """

    sec: float
    frame: VideoFrame

    def pixels(self, converter: VideoReformatter) -> np.ndarray:
        """Convert to uint8 (H, W, 3), RGB 0..255, upright."""
        return upright_pixels(self.frame, converter)


def stream_frames(video: VideoContent, *, where: str) -> Generator[ShownFrame]:
    """Decode a video of any length from beginning to end, holding no more of it than the decoder does.

    Args:
        video: The file's content, or the open file.
        where: The place that an error names.

    Yields:
        Its frames in presentation order, the same as `decode_frames` numbers them.

    Raises:
        DecodeError: It is not wholly decodable, which may show after its last frame only.
    """
    with typed_errors(video, where), opened(video) as (container, stream):
        num_packets, is_cut = 0, False
        first: VideoFrame | None = None
        for packet in container.demux(stream):
            if not packet.size:
                continue
            num_packets, is_cut = num_packets + 1, packet.is_corrupt
            for frame in stream.decode(packet):
                first = first or frame
                yield _shown(frame, first, where)
        for frame in stream.decode(None):
            first = first or frame
            yield _shown(frame, first, where)
        check_end(container, stream, num_packets, is_cut, where)
        if first is None:
            came = f"{num_packets} packets, no frame"
            raise DecodeError(where=where, cause=DecodeCause.ZERO_FRAMES, came=came)


def _shown(frame: VideoFrame, first: VideoFrame, where: str) -> ShownFrame:
    check_one_size((upright_size(first), upright_size(frame)), where)
    known = frame.pts is not None and first.pts is not None
    return ShownFrame(frame.time - first.time if known else float("nan"), frame)
