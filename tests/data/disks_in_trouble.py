"""Disks that fail, in this process and in children; each child imports this."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

from videomae_train.data import disk_trouble
from videomae_train.data.encoding import Reencoding
from videomae_train.data.probing import FaultyVideo, ProbedVideo, probe_source
from videomae_train.data.sources import SourceVideo


def failing(works: Callable[..., Any], number: int, times: int, *, only: str = "") -> Callable[..., Any]:
    """Let a call fail so many times, if one of its arguments ends as given, before it works."""
    left = [times]

    def fail_or_work(*arguments: Any, **options: Any) -> Any:
        if left[0] > 0 and any(str(argument).endswith(only) for argument in arguments):
            left[0] -= 1
            raise OSError(number, os.strerror(number))
        return works(*arguments, **options)

    return fail_or_work


def probe_on_a_bad_disk(video: SourceVideo, reencoding: Reencoding | None) -> ProbedVideo | FaultyVideo:
    """A disk that gives everything but one file."""
    if "lost" in video.name:
        # Children that decode are not to wait in a test.
        disk_trouble.repeat_in_trouble.__defaults__ = ((),)
        type(video.path).read_bytes = failing(type(video.path).read_bytes, errno.EIO, 1000, only=".mp4")  # type: ignore[method-assign]
    return probe_source(video, reencoding)
