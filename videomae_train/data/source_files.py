"""Reading files of a source, which may have gone since they were listed.

A file that is not there is a fault of its video, and final. A disk in trouble is not: it is asked again for a few
seconds, then the command ends, and takes the work up again when it is repeated.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

from videomae_train.data.disk_trouble import is_of_the_file, repeat_in_trouble, trouble_with
from videomae_train.errors import DecodeCause, DecodeError

Result = TypeVar("Result")


def read_source_file(path: Path, where: str) -> bytes:
    """Read a whole file.

    Raises:
        DecodeError: It is not there, or may not be read.
        VideoMAETrainError: The disk is in trouble.
    """
    return _attempted(path.read_bytes, path, where)


def open_source_file(path: Path, where: str) -> BinaryIO:
    """Open a file of any length, to be read as far as it is needed; raises as `read_source_file`."""
    return _attempted(lambda: path.open("rb"), path, where)


def list_source_folder(path: Path, where: str) -> list[Path]:
    """List what is in a folder, in no order; raises as `read_source_file`."""
    return _attempted(lambda: list(path.iterdir()), path, where)


def source_status(path: Path) -> os.stat_result | None:
    """Ask for a file's length and kind; None if it is not there, or may not be asked for.

    Raises:
        VideoMAETrainError: The disk is in trouble.
    """
    try:
        return repeat_in_trouble(path.stat)
    except OSError as error:
        if is_of_the_file(error):
            return None
        raise trouble_with(path, error) from error


def _attempted(attempt: Callable[[], Result], path: Path, where: str) -> Result:
    try:
        return repeat_in_trouble(attempt)
    except OSError as error:
        if is_of_the_file(error):
            raise _missing(where, error) from error
        raise trouble_with(path, error) from error


def _missing(where: str, error: OSError) -> DecodeError:
    return DecodeError(
        where=where,
        cause=DecodeCause.MISSING,
        came=str(error.strerror).lower(),
        expected="a readable file",
        todo="Add the file, make it readable, or take it off the list.",
    )
