"""How many frames a video has, when they are shown and at what rate, without decoding it where its packets tell."""

from __future__ import annotations

import numpy as np

from videomae_train.data.container import (
    check_whole,
    opened,
    presentation_stamps,
    read_packets,
    typed_errors,
)
from videomae_train.data.decoding import probe_video
from videomae_train.errors import DecodeCause, DecodeError


def count_frames(video: bytes, *, where: str) -> int:
    """Count the frames of a video.

    Where each packet has a time stamp of its own there is one frame a packet, and nothing is decoded. A decoder
    may still put out fewer, of damaged files: `decoding.probe_video` counts those for certain.

    Args:
        video: The file's content.
        where: The place that an error names.

    Raises:
        DecodeError: There is no video, its end is missing, or nothing decodes.
    """
    with typed_errors(video, where), opened(video) as (container, stream):
        packets = read_packets(container, stream)
        check_whole(container, stream, packets, where)
        stamps = presentation_stamps(container, stream, packets)
    return len(stamps) if stamps else probe_video(video, where=where).num_frames


def frame_times(video: bytes, num_frames: int, *, where: str) -> np.ndarray:
    """Say when each frame is shown, by its own time stamp where these are reliable, else by the average rate.

    Args:
        video: The file's content.
        num_frames: As `count_frames` or the set's index says.
        where: The place that an error names.

    Returns:
        float64 (num_frames,), seconds since the first frame; NaN where the file states neither stamps nor a rate.

    Raises:
        DecodeError: There is no video.
    """
    with typed_errors(video, where), opened(video) as (container, stream):
        stamps = presentation_stamps(container, stream, read_packets(container, stream))
        if stamps and len(stamps) == num_frames and stream.time_base is not None:
            return (np.array(stamps) - stamps[0]) * float(stream.time_base)
        rate = float(stream.average_rate or np.nan)
    return np.arange(num_frames) / rate


def average_rate(video: bytes, *, where: str) -> float:
    """Say a video's average frames per second, to the digit as the index of a packed set has it.

    Args:
        video: The file's content.
        where: The place that an error names.

    Raises:
        DecodeError: There is no video, or the file does not state its rate.
    """
    with typed_errors(video, where), opened(video) as (_, stream):
        rate = float(np.float32(stream.average_rate or 0))  # an index holds rates in 32 bits
    if rate > 0:
        return rate
    raise DecodeError(
        where=where,
        cause=DecodeCause.UNDECODABLE,
        came="an unknown rate",
        expected="a file that states its frames per second, for clips whose frames are so many seconds apart",
        todo="Re-encode the file, or count clips in frames (--stride).",
    )
