"""Opening video files with PyAV: one stream, its packets, upright frames, typed errors."""

from __future__ import annotations

import io
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, TypeAlias

import av
import numpy as np
from av.container import InputContainer
from av.error import EOFError as AvEOFError
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from videomae_train.errors import DecodeCause, DecodeError

# What PyAV raises on odd content: its own tree, and ValueError and the like for values it cannot represent.
DECODER_ERRORS = (FFmpegError, ValueError, ArithmeticError, RuntimeError)

VideoPacket: TypeAlias = "Packet[VideoStream]"


class _NoVideoError(Exception):
    """The container opened, but holds no video stream."""


# A file's content, or the open file, which is then read as far as it is needed.
VideoContent: TypeAlias = "bytes | BinaryIO"


@contextmanager
def opened(video: VideoContent) -> Generator[tuple[InputContainer, VideoStream]]:
    """Open the best video stream for decoding in one thread; the loader's processes are the parallelism.

    "Best" is FFmpeg's choice (the largest picture), which is not always the first stream. FFmpeg never sees a file's
    name, so that the bytes alone decide what it makes of them.
    """
    with av.open(io.BytesIO(video) if isinstance(video, bytes) else video, mode="r") as container:
        stream = container.streams.best("video")
        if not isinstance(stream, VideoStream):
            raise _NoVideoError
        if stream.codec_context is None:  # pyright: ignore[reportUnnecessaryComparison]  # it is, without a decoder
            raise ValueError("no decoder for this video stream, or its header is missing")
        stream.codec_context.thread_count = 1
        yield container, stream


@contextmanager
def typed_errors(video: VideoContent, where: str) -> Generator[None]:
    """Turn what PyAV raises into a DecodeError with a cause."""
    if not (video if isinstance(video, bytes) else video.seek(0, io.SEEK_END)):
        raise DecodeError(where=where, cause=DecodeCause.EMPTY, came="0 bytes")
    if not isinstance(video, bytes):
        video.seek(0)
    try:
        yield
    except _NoVideoError:
        came = "a container without a video stream"
        raise DecodeError(where=where, cause=DecodeCause.NO_VIDEO_STREAM, came=came) from None
    except AvEOFError as error:
        raise DecodeError(where=where, cause=DecodeCause.TRUNCATED, came=_words(error)) from error
    except DECODER_ERRORS as error:
        raise DecodeError(where=where, cause=DecodeCause.UNDECODABLE, came=_words(error)) from error


def _words(error: Exception) -> str:
    return error.strerror if isinstance(error, FFmpegError) and error.strerror else str(error)


def read_packets(container: InputContainer, stream: VideoStream) -> list[VideoPacket]:
    """Read all packets of the stream, in decoding order, without the empty one that marks the end."""
    return [packet for packet in container.demux(stream) if packet.size]


def decode_packets(stream: VideoStream, packets: Sequence[VideoPacket]) -> Iterator[VideoFrame]:
    """Decode packets and then what the decoder held back."""
    for packet in packets:
        yield from stream.decode(packet)
    yield from stream.decode(None)


def upright_pixels(frame: VideoFrame, converter: VideoReformatter | None = None) -> np.ndarray:
    """Convert to uint8 (H, W, 3) RGB and apply the quarter turns that the file asks players for.

    Args:
        frame: The frame.
        converter: Shared by the frames of a video; making one takes several times as long as using it.
    """
    converted = (converter or VideoReformatter()).reformat(frame, format="rgb24", threads=1)
    return np.rot90(np.asarray(converted.to_ndarray(), dtype=np.uint8), k=quarter_turns(frame))


def upright_size(frame: VideoFrame) -> tuple[int, int]:
    """Say the height and width that `upright_pixels` has."""
    return (frame.width, frame.height) if quarter_turns(frame) % 2 else (frame.height, frame.width)


def quarter_turns(frame: VideoFrame) -> int:
    """Count the anticlockwise quarter turns that put a frame upright, 0 to 3."""
    return round(frame.rotation / 90) % 4


def check_one_size(sizes: Iterable[tuple[int, int]], where: str) -> None:
    """Refuse a video whose picture size changes: it cannot be one array.

    Raises:
        DecodeError: More than one size.
    """
    distinct = sorted(set(sizes))
    if len(distinct) > 1:
        raise DecodeError(
            where=where,
            cause=DecodeCause.UNDECODABLE,
            came="the picture size changes: " + ", ".join(f"{height}x{width}" for height, width in distinct),
            expected="one size throughout",
            todo="Re-encode the file to one size.",
        )


def presentation_stamps(
    container: InputContainer, stream: VideoStream, packets: Sequence[VideoPacket]
) -> list[int] | None:
    """List the packets' stamps in presentation order; None where they are missing, doubled or invented.

    AVI stores no presentation times: with B-frames FFmpeg makes them up, one frame off (most of UCF101's
    BabyCrawling).
    """
    if container.format.name == "avi" and stream.codec_context.has_b_frames:
        return None
    stamps = [packet.pts for packet in packets if packet.pts is not None and not packet.is_discard]
    return sorted(stamps) if len(stamps) == len(packets) == len(set(stamps)) else None


def check_whole(
    container: InputContainer, stream: VideoStream, packets: Sequence[VideoPacket], where: str
) -> None:
    """Refuse a file whose end is missing, where its container lets one see it."""
    check_end(container, stream, len(packets), bool(packets) and packets[-1].is_corrupt, where)


def check_end(
    container: InputContainer, stream: VideoStream, num_packets: int, is_cut: bool, where: str
) -> None:
    """Do what `check_whole` does where packets were not kept: by their number, and by the last one's being cut."""
    is_short = container.format.name == "avi" and 0 < num_packets < stream.frames
    if is_cut or is_short:
        came = (
            f"{num_packets} packets of {stream.frames or 'an unknown number'}" + ", the last one cut" * is_cut
        )
        raise DecodeError(where=where, cause=DecodeCause.TRUNCATED, came=came)
