"""Writing a folder of files so that it appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from videomae_train.errors import ConfigError


def replace_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder of its own, made beside its place, flushed to disk, and renamed.

    Killed at any moment, the old folder or the new one is there whole; between two renames, for an instant,
    the old one has `.old` at the end of its name.

    Args:
        folder: Made new, or replaced when it holds no other files than these.
        files: File name to contents.

    Raises:
        ConfigError: The folder exists and holds other files, which replacing would delete.
    """
    _refuse_foreign(folder, files)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        staging.chmod(0o755)
        for name, contents in files.items():
            with open(staging / name, "wb") as file:
                file.write(contents)
                file.flush()
                os.fsync(file.fileno())
        _swap(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def replace_file(file: Path, contents: bytes) -> None:
    """Write a file of a folder anew; killed at any moment, the old one or the new one is there whole.

    What is unfinished lies beside the folder, which never holds anything foreign.

    Raises:
        OSError: It cannot be written; the old one is left as it was.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.absolute().parent.parent)
    try:
        with open(descriptor, "wb") as unfinished:
            unfinished.write(contents)
            unfinished.flush()
            os.fsync(unfinished.fileno())
        os.chmod(name, 0o644)
        os.replace(name, file)
    except OSError:
        os.unlink(name)
        raise


def _swap(staging: Path, folder: Path) -> None:
    old = folder.with_name(f"{folder.name}.old")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    staging.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    directory = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _refuse_foreign(folder: Path, files: Mapping[str, bytes]) -> None:
    if not folder.exists():
        return
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in files)
    if foreign:
        raise ConfigError(
            where=str(folder),
            came=f"a folder that holds {', '.join(foreign[:3])}",
            expected="a new folder, or an older one of the same files",
            todo="Give another folder: this one would be replaced as a whole.",
        )
