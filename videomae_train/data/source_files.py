"""Reading files of a source, which may have gone since they were listed."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from videomae_train.errors import DecodeCause, DecodeError


def read_source_file(path: Path, where: str) -> bytes:
    """Read a whole file.

    Raises:
        DecodeError: It is not there, or may not be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise _missing(where, error) from error


def open_source_file(path: Path, where: str) -> BinaryIO:
    """Open a file of any length, to be read as far as it is needed.

    Raises:
        DecodeError: It is not there, or may not be read.
    """
    try:
        return path.open("rb")
    except OSError as error:
        raise _missing(where, error) from error


def _missing(where: str, error: OSError) -> DecodeError:
    return DecodeError(
        where=where,
        cause=DecodeCause.MISSING,
        came=str(error.strerror).lower(),
        expected="a readable file",
        todo="Add the file, make it readable, or take it off the list.",
    )
