"""Errors of a disk: what is final for one file, and what another attempt may change.

Disks of a cluster are reached over its network, and such a disk may be in trouble for a while. That says nothing about
the file that was asked for.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from videomae_train.errors import ShardError, VideoMAETrainError

_OF_THE_FILE = frozenset(
    {
        errno.EACCES,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EPERM,
    }
)
_FULL = frozenset({errno.EDQUOT, errno.ENOSPC})
# Between the attempts at files that have no options of their own.
PAUSES_SEC = (0.5, 1.0, 2.0)

Result = TypeVar("Result")


def is_of_the_file(error: OSError) -> bool:
    """Say whether an error is about the one file: not there, not readable, no file."""
    return error.errno in _OF_THE_FILE


def repeat_in_trouble(attempt: Callable[[], Result], pauses_sec: Iterable[float] = PAUSES_SEC) -> Result:
    """Try until it works, or the error is about the file itself, or there is no further pause.

    Args:
        attempt: What to do with a file.
        pauses_sec: Before each further attempt.

    Raises:
        OSError: Of the last attempt.
    """
    for pause_sec in pauses_sec:
        try:
            return attempt()
        except OSError as error:
            if is_of_the_file(error):
                raise
        time.sleep(pause_sec)
    return attempt()


def trouble_with(file: Path, error: OSError) -> VideoMAETrainError:
    """Make the error of a disk that stayed in trouble."""
    return VideoMAETrainError(
        where=str(file),
        came=f"{str(error.strerror).lower()} ({1 + len(PAUSES_SEC)} attempts)",
        expected="a file that can be read",
        todo="Repeat the command when the disk works again: what is finished stays. Take a file away that alone fails.",
    )


@contextmanager
def full_disk_named(destination: Path) -> Generator[None]:
    """Turn the error of a full disk, or of a quota that is used up, into ours; others pass.

    Args:
        destination: The folder that is written, by work that can be repeated to go on.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise no_room(destination, error, "Make room and repeat the command, which goes on.") from error


def no_room(destination: Path, error: OSError, todo: str) -> ShardError:
    """Make the error of a folder that cannot be written."""
    return ShardError(
        where=str(destination),
        came=str(error.strerror),
        expected="a disk with room for the set",
        todo=todo,
    )
