"""What a run's folder says of its latest attempt: when and where it began, and how it ended."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from videomae_train.data.layout import write_json
from videomae_train.training.heartbeats import host_name
from videomae_train.training.starters import global_rank

_FILE = "attempt.json"


@dataclass
class Attempt:
    """One start of a run.

    Attributes:
        stopped_by: The signal that ended it before its last step; set by whoever knows.
    """

    stopped_by: str | None = None


@contextmanager
def recorded_attempt(
    run: Path, *, total_steps: int, baselines: Mapping[str, float], videos: str
) -> Generator[Attempt]:
    """Keep attempt.json of the run's folder true while the block trains, for whoever looks on from outside.

    It holds `began` and `ended` (UTC; null while it goes on), `host`, `process`, `total_steps`, `baselines`, the
    fingerprint of the `videos`, the signal `stopped_by`, and the error that was its `failure`. Rank 0 writes it.

    Args:
        run: The run's folder.
        total_steps: Optimizer steps of the whole run.
        baselines: Losses that need no model; empty where there are none.
        videos: Fingerprint of those that are trained on.
    """
    attempt = Attempt()
    content: dict[str, object] = {
        "began": _now(),
        "ended": None,
        "host": host_name(),
        "process": os.getpid(),
        "total_steps": total_steps,
        "baselines": dict(baselines),
        "videos": videos,
        "stopped_by": None,
        "failure": None,
    }
    _write(run, content)
    try:
        yield attempt
    except BaseException as error:
        try:
            _write(run, {**content, "ended": _now(), "failure": f"{type(error).__name__}: {error}"})
        except OSError as also:  # a full disk, perhaps, which is what ended the run
            error.add_note(f"It could not be written down either: {also}")
        raise
    _write(run, {**content, "ended": _now(), "stopped_by": attempt.stopped_by})


def _write(run: Path, content: dict[str, object]) -> None:
    if global_rank() == 0:
        write_json(run / _FILE, content)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
