"""The `videomae` command with a decoder that crashes its process at one video: python crashing_decoder.py KEY VERB ...

Where the environment names a file in CRASH_ONLY_ONCE_TRAINING, it crashes after that file has appeared only.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import Any

from videomae_train import cli
from videomae_train.data.views import Video


def crash_at(key: str) -> None:
    decode = Video.decode

    def decode_or_crash(self: Video, indices: Any) -> Any:
        started = os.environ.get("CRASH_ONLY_ONCE_TRAINING")
        if self.where.endswith(f", {key}") and (started is None or Path(started).exists()):
            assert multiprocessing.parent_process() is not None, "never in the main process"
            os.kill(os.getpid(), signal.SIGSEGV)
        return decode(self, indices)

    Video.decode = decode_or_crash  # type: ignore[method-assign]


if __name__ == "__main__":
    crash_at(os.environ["CRASHING_KEY"])
    sys.exit(cli.main())
