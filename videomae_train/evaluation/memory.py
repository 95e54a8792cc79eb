"""What a device without room for more says."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch

from videomae_train.errors import TrainingError


@contextmanager
def naming_full_memory(todo: str) -> Generator[None]:
    """Turn a device's lack of memory into an error that says what to do.

    Args:
        todo: What takes less.

    Raises:
        TrainingError: There was no room.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            where="memory of the device",
            came=" ".join(str(error).split()),
            expected="room for what is computed at once",
            todo=todo,
        ) from error
