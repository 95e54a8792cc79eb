"""Reading and probing one source video, in a form that child processes can do and send back.

Imports nothing heavy: the server that children are forked from is ready in a fraction of a second.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from videomae_train.data.children import Ended, children_at_work
from videomae_train.data.decoding import VideoFacts, probe_video
from videomae_train.data.encoding import Reencoding, reencode
from videomae_train.data.frame_folders import encode_frame_folder
from videomae_train.data.layout import content_checksum
from videomae_train.data.source_files import read_source_file
from videomae_train.data.sources import SourceVideo
from videomae_train.errors import DecodeCause, DecodeError


@dataclass(frozen=True)
class ProbedVideo:
    """A video that decodes to its end.

    Attributes:
        content: The bytes to pack: the file's, or what it was encoded to.
        extension: What they are, lower case, without the dot.
        checksum: `content_checksum` of them.
        facts: What decoding it showed.
    """

    content: bytes
    extension: str
    checksum: bytes
    facts: VideoFacts


@dataclass(frozen=True)
class FaultyVideo:
    """A video that does not.

    Attributes:
        cause: A `DecodeCause` value.
        detail: The whole message.
    """

    cause: str
    detail: str


# A video of the source with what probing it gave.
Probe: TypeAlias = tuple[SourceVideo, ProbedVideo | FaultyVideo]


def probe_source(video: SourceVideo, reencoding: Reencoding | None = None) -> ProbedVideo | FaultyVideo:
    """Read a video and decode it to the end; a fault is a result, not an error.

    Args:
        video: The video.
        reencoding: Encode it anew; None keeps its bytes. Folders of frames are encoded in any case.

    Raises:
        VideoMAETrainError: The disk is in trouble, which is no fault of the video.
    """
    where = video.name
    try:
        if video.frames_fps is not None:
            encoded = encode_frame_folder(
                video.path, video.frames_fps, reencoding or Reencoding(), where=where
            )
            return _probed(encoded, "mp4", probe_video(encoded, where=where))
        content = read_source_file(video.path, where)
        facts = probe_video(content, where=where)
        if reencoding is None:
            return _probed(content, _extension(video.path), facts)
        encoded = reencode(content, reencoding, where=where)
        return _probed(encoded, "mp4", _facts_of_encoded(encoded, facts, where))
    except DecodeError as error:
        return _as_fault(error)


def _probed(content: bytes, extension: str, facts: VideoFacts) -> ProbedVideo:
    return ProbedVideo(content, extension, content_checksum(content), facts)


def _extension(path: Path) -> str:
    return re.sub("[^a-z0-9]", "", path.suffix.lower()) or "video"


def _facts_of_encoded(encoded: bytes, source: VideoFacts, where: str) -> VideoFacts:
    """Probe what encoding made and see that no frame was lost; damage of the source stays on the account."""
    facts = probe_video(encoded, where=where)
    if facts.num_frames != source.num_frames:
        came = f"{facts.num_frames} of {source.num_frames} frames after encoding"
        raise DecodeError(where=where, cause=DecodeCause.UNDECODABLE, came=came)
    return replace(facts, num_damaged_frames=source.num_damaged_frames)


@contextmanager
def probed_in_order(
    videos: Iterable[SourceVideo],
    *,
    processes: int,
    timeout_sec: float,
    probe: Callable[[SourceVideo], ProbedVideo | FaultyVideo],
) -> Generator[Iterator[Probe]]:
    """Probe videos in child processes; results come in the order of the videos.

    Args:
        videos: Taken a few ahead of the results: these hold whole videos, all at once would not fit in memory.
        processes: Children at a time.
        timeout_sec: A video that takes longer has a fault.
        probe: What the children do; picklable.
    """
    with children_at_work(probe, videos, processes=processes, timeout_sec=timeout_sec) as results:
        yield (
            (video, fault_of(video.name, result, timeout_sec) if isinstance(result, Ended) else result)
            for video, result in results
        )


def fault_of(where: str, ended: Ended, timeout_sec: float) -> FaultyVideo:
    """Make the fault of a video whose child process has ended."""
    return _as_fault(ended_error(where, ended, timeout_sec))


def ended_error(where: str, ended: Ended, timeout_sec: float) -> DecodeError:
    """Say what happened to a video whose child did not come to an end with it."""
    return DecodeError(
        where=where,
        cause=DecodeCause.TIMEOUT if ended.timed_out else DecodeCause.UNDECODABLE,
        came=f"not done after {timeout_sec:g} s"
        if ended.timed_out
        else f"the decoder died of {ended.signal_name}",
    )


def _as_fault(error: DecodeError) -> FaultyVideo:
    return FaultyVideo(error.cause.value, str(error))
