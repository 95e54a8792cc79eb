"""Ends of a process that makes a set: pretended ones at any moment, and real ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


class Killed(BaseException):
    """Stands in for the end of the process."""


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def files_moved(monkeypatch: pytest.MonkeyPatch, kill_at: int, *, after: bool) -> list[str]:
    """Note each rename and removal, and end the packing before or after one of them."""
    noted: list[str] = []

    def noting(what: str, act: Callable[..., object]) -> Callable[..., object]:
        def act_and_note(path: Path, *arguments: object, **options: object) -> object:
            noted.append(f"{what} {path}")
            if len(noted) == kill_at and not after:
                raise Killed
            result = act(path, *arguments, **options)
            if len(noted) == kill_at:
                raise Killed
            return result

        return act_and_note

    monkeypatch.setattr(Path, "replace", noting("rename", Path.replace))
    monkeypatch.setattr(Path, "unlink", noting("remove", Path.unlink))
    monkeypatch.setattr(shutil, "rmtree", noting("remove", shutil.rmtree))
    return noted


def run_script(file: Path, script: str, *arguments: object) -> int:
    """Run a script in a process of its own, and say how it ended."""
    file.write_text(script)
    command = [sys.executable, str(file), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, env=environment, check=False, timeout=600).returncode
