"""How a sweep's folder writes down where a run lies: relative to itself, also for runs of other sweeps."""

from __future__ import annotations

import os
from pathlib import Path


def place_in(sweep: Path, run: Path) -> str:
    """Write where a run lies, relative to a sweep's folder; for one elsewhere, links are followed."""
    if run.is_relative_to(sweep):
        return run.relative_to(sweep).as_posix()
    return Path(os.path.relpath(os.path.realpath(run), os.path.realpath(sweep))).as_posix()


def run_at(sweep: Path, place: str) -> Path:
    """Give the folder of a run that `place_in` wrote down."""
    if not place.startswith("../"):
        return sweep / place
    return Path(os.path.normpath(os.path.join(os.path.realpath(sweep), place)))
