"""Probes that hang or crash, for the children that packing and checking work in; each child imports this."""

from __future__ import annotations

import os
import signal
import time

from videomae_train.data.encoding import Reencoding
from videomae_train.data.inspection import InspectedVideo, inspect_source_video
from videomae_train.data.probing import FaultyVideo, ProbedVideo, probe_source
from videomae_train.data.sources import SourceVideo
from videomae_train.data.tar_probing import TarTask, probe_tar_video


def probe_with_a_bad_decoder(video: SourceVideo, reencoding: Reencoding | None) -> ProbedVideo | FaultyVideo:
    """Hangs and crashes on some names, as a decoder may on some contents."""
    if "hang" in video.name:
        time.sleep(1000)
    if "crash" in video.name:
        os.kill(os.getpid(), signal.SIGSEGV)
    return probe_source(video, reencoding)


def inspect_with_a_bad_decoder(video: SourceVideo, *, decode: bool) -> InspectedVideo:
    """The same for `check`."""
    if "hang" in video.name:
        time.sleep(1000)
    if "crash" in video.name:
        os.kill(os.getpid(), signal.SIGSEGV)
    return inspect_source_video(video, decode=decode)


def probe_tar_with_a_bad_decoder(task: TarTask) -> ProbedVideo | FaultyVideo:
    """Crashes and hangs on two videos of a shard."""
    if task.video.key == "clip1":
        os.kill(os.getpid(), signal.SIGSEGV)
    if task.video.key == "clip2":
        time.sleep(1000)
    return probe_tar_video(task)
