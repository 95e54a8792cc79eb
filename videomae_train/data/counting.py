"""How many frames a video has, without decoding it where its packets tell."""

from __future__ import annotations

from videomae_train.data.container import (
    check_whole,
    opened,
    presentation_stamps,
    read_packets,
    typed_errors,
)
from videomae_train.data.decoding import probe_video


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
