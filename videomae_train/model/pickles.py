"""Loading pickled weights without running what is in them."""

from __future__ import annotations

import pickle
from argparse import Namespace
from pathlib import Path

import torch

from videomae_train.errors import CheckpointError


def load_pickle(path: Path, *, trust: bool = False) -> object:
    """Load a torch file onto the CPU: tensors, plain containers and argparse.Namespace, nothing else.

    Args:
        path: The file; official checkpoints keep their command line in it as a Namespace.
        trust: Load whatever the file asks for. A pickle can run any code: only for files of your own.

    Raises:
        CheckpointError: The file cannot be read, or wants other types while it is not trusted.
    """
    try:
        with torch.serialization.safe_globals([Namespace]):
            return torch.load(path, map_location="cpu", weights_only=not trust)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            where=str(path),
            came=str(error).split("\n")[0],
            expected="tensors, plain containers and argparse.Namespace",
            todo="If you trust its origin, allow it with --trust-pickle: such a file can run any code.",
        ) from error
    except (OSError, RuntimeError, EOFError) as error:
        raise CheckpointError(
            where=str(path),
            came=f"{type(error).__name__}: {error}",
            expected="a file that torch.save wrote",
            todo="Fetch or copy the file again.",
        ) from error
