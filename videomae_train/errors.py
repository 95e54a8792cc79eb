"""The errors of videomae-train: one small tree, each with four parts and an exit code.

The message always reads: where it happened, what came, what was expected, what to do. The constructor asks for the
four parts by name, so that none can be forgotten.
"""

from __future__ import annotations

import math
from enum import StrEnum


class VideoMAETrainError(Exception):
    """An error that a user can act on; the command line prints it as one message, without a traceback.

    Args:
        where: Dotted key, file, or shard and sample.
        came: What was found there.
        expected: What would have been right.
        todo: The next step for the reader.
    """

    exit_code = 1

    def __init__(self, *, where: str, came: str, expected: str, todo: str) -> None:
        super().__init__(where, came, expected, todo)
        self.where, self.came, self.expected, self.todo = where, came, expected, todo

    def __str__(self) -> str:
        # What came may be a list, one line each.
        expected = "Expected" if self.came.endswith("\n") else "; expected"
        return f"{self.where}: {self.came}{expected} {self.expected}. {self.todo}"

    def __reduce__(self) -> tuple[object, ...]:
        # Loader workers send their errors to the main process by pickle, which would call __init__ by position.
        return _rebuild, (type(self), dict(self.__dict__))


def _rebuild(cls: type[VideoMAETrainError], state: dict[str, object]) -> VideoMAETrainError:
    error = cls.__new__(cls)
    Exception.__init__(error, state["where"], state["came"], state["expected"], state["todo"])
    error.__dict__.update(state)
    return error


class ConfigError(VideoMAETrainError, ValueError):
    """The request was wrong: a value, a key, a path or a combination of them.

    Also a ValueError, so that the configuration's validation collects it beside the others.
    """

    exit_code = 2


def check_number(
    where: str, value: float | None, *, least: float | None = None, above: float = -math.inf, such_as: object
) -> None:
    """Refuse a number that is too small or not finite; None, where a field may be it, says something else.

    Args:
        where: The dotted key.
        value: What was given.
        least: The smallest that makes sense, or
        above: what it has to be larger than.
        such_as: A usual value.

    Raises:
        ConfigError: It is out of this range.

    >>> check_number("trainer.devices", 0, least=1, such_as=1)
    Traceback (most recent call last):
    videomae_train.errors.ConfigError: trainer.devices: 0; expected at least 1. Set trainer.devices=1 or so.
    """
    if value is None or (math.isfinite(value) and value > above and (least is None or value >= least)):
        return
    raise ConfigError(
        where=where,
        came=str(value),
        expected=f"more than {above:g}" if least is None else f"at least {least:g}",
        todo=f"Set {where}={such_as} or so.",
    )


class ShardError(VideoMAETrainError):
    """A shard or its index cannot be read, or the two contradict each other."""


class CheckpointError(VideoMAETrainError):
    """A weights folder or checkpoint is missing, damaged, or holds another model."""


class TrainingError(VideoMAETrainError):
    """A run stopped because going on would have been dishonest or useless."""


class DecodeCause(StrEnum):
    """Why a video gave no frames."""

    MISSING = "missing"
    EMPTY = "empty"
    NO_VIDEO_STREAM = "no video stream"
    TRUNCATED = "truncated"
    ZERO_FRAMES = "zero frames"
    UNDECODABLE = "undecodable"
    TIMEOUT = "timeout"
    CRASHED = "crashed"


class DecodeError(VideoMAETrainError):
    """One video's content cannot be decoded.

    Args:
        cause: The kind of fault, as it is counted in fault lists.
    """

    def __init__(
        self,
        *,
        where: str,
        cause: DecodeCause,
        came: str,
        expected: str = "a video that FFmpeg decodes to the end",
        todo: str = "Repair, re-encode or remove the file.",
    ) -> None:
        super().__init__(where=where, came=f"{cause} ({came})", expected=expected, todo=todo)
        self.cause = cause
