"""Reading and probing one source video, in a form that child processes can do and send back.

Imports nothing heavy: a spawned child is ready in a fraction of a second.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from videomae_train.data.decoding import VideoFacts, probe_video
from videomae_train.data.layout import content_checksum
from videomae_train.data.sources import SourceVideo
from videomae_train.errors import DecodeCause, DecodeError


@dataclass(frozen=True)
class ProbedVideo:
    """A video that decodes to its end.

    Attributes:
        content: The file's bytes.
        checksum: `content_checksum` of them.
        facts: What decoding it showed.
    """

    content: bytes
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


def probe_file(path: Path, where: str) -> ProbedVideo | FaultyVideo:
    """Read a file and decode it to the end; a fault is a result, not an error.

    Args:
        path: The video file.
        where: How a fault names it.
    """
    try:
        content = _read(path, where)
        facts = probe_video(content, where=where)
    except DecodeError as error:
        return FaultyVideo(error.cause.value, str(error))
    return ProbedVideo(content, content_checksum(content), facts)


@contextmanager
def probed_in_order(videos: Iterable[SourceVideo], processes: int) -> Generator[Iterator[Probe]]:
    """Probe videos, in child processes if more than one is allowed; results come in the order of the
    videos."""
    if processes <= 1:
        yield ((video, probe_file(video.path, video.name)) for video in videos)
        return
    # Spawned, because the parent may hold threads (torch, progress bars) that a fork would break.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as executor:
        yield _probe_ahead(executor, videos, depth=2 * processes)


def _probe_ahead(executor: ProcessPoolExecutor, videos: Iterable[SourceVideo], depth: int) -> Iterator[Probe]:
    """Keep a few probes under way; results hold whole videos, so that all at once would not fit in memory."""
    under_way: deque[tuple[SourceVideo, Future[ProbedVideo | FaultyVideo]]] = deque()
    for video in videos:
        under_way.append((video, executor.submit(probe_file, video.path, video.name)))
        if len(under_way) > depth:
            done, future = under_way.popleft()
            yield done, future.result()
    for done, future in under_way:
        yield done, future.result()


def _read(path: Path, where: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DecodeError(
            where=where,
            cause=DecodeCause.MISSING,
            came=str(error.strerror).lower(),
            expected="a readable file",
            todo="Add the file, make it readable, or take it off the list.",
        ) from error
