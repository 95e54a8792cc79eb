"""Probing one video of a shard, in a form that child processes can do; imports nothing heavy, as `probing`."""

from __future__ import annotations

from dataclasses import dataclass

from videomae_train.data.decoding import probe_video
from videomae_train.data.layout import content_checksum
from videomae_train.data.probing import FaultyVideo, ProbedVideo
from videomae_train.data.tar_samples import TarVideo
from videomae_train.errors import DecodeError


@dataclass(frozen=True)
class TarTask:
    """A video of a shard, on its way to a child process and back.

    Attributes:
        shard: Number of the shard.
        place: Among what was found in the shard.
        name: Shard and member, for messages.
        video: The video.
    """

    shard: int
    place: int
    name: str
    video: TarVideo


def probe_tar_video(task: TarTask) -> ProbedVideo | FaultyVideo:
    """Decode a video to the end; a fault is a result, not an error."""
    try:
        facts = probe_video(task.video.content, where=task.name)
    except DecodeError as error:
        return FaultyVideo(error.cause.value, str(error))
    return ProbedVideo(b"", task.video.extension, content_checksum(task.video.content), facts)
