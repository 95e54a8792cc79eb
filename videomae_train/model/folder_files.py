"""The files of a weights folder, read: JSON, safetensors or older pickles, whole or in shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from videomae_train.errors import CheckpointError
from videomae_train.model.pickles import load_pickle

CONFIG, TENSORS, PROCESSOR, CARD = "config.json", "model.safetensors", "preprocessor_config.json", "README.md"
PICKLE, PICKLE_SHARDS = "pytorch_model.bin", "pytorch_model-*.bin"


def read_tensors(folder: Path, *, trust_pickle: bool) -> dict[str, Tensor]:
    """Read all tensors of a folder; safetensors come before pickles where it has both.

    Raises:
        CheckpointError: A file is missing or damaged, or a pickle wants more than tensors.
    """
    for name in (TENSORS, PICKLE):
        index = folder / f"{name}.index.json"
        if index.is_file():
            held = cast("dict[str, str]", read_json(index)["weight_map"])
            parts = [_read_file(folder / part, trust_pickle) for part in sorted(set(held.values()))]
            return {tensor_name: tensor for part in parts for tensor_name, tensor in part.items()}
        if (folder / name).is_file():
            return _read_file(folder / name, trust_pickle)
    return _read_file(folder / TENSORS, trust_pickle)  # raises, naming the file that ought to be there


def read_json(path: Path) -> dict[str, object]:
    """Read a file that holds one JSON object.

    Raises:
        CheckpointError: It is missing, damaged, or holds something else.
    """
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        raise CheckpointError(
            where=str(path.parent),
            came=f"no {path.name} in it",
            expected="a weights folder (config.json and model.safetensors), or the folder of a run that wrote one",
            todo="Check the path; of a run that is not finished, give a file in its checkpoints folder.",
        ) from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(values, dict):
        raise _unreadable(path, TypeError("no JSON object"))
    return cast("dict[str, object]", values)


def _read_file(path: Path, trust_pickle: bool) -> dict[str, Tensor]:
    if path.suffix == ".bin":
        loaded = load_pickle(path, trust=trust_pickle)
        if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
            raise _unreadable(path, TypeError("no named tensors"))
        return cast("dict[str, Tensor]", loaded)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        where=str(path),
        came=f"{type(error).__name__}: {error}",
        expected="a whole file of a weights folder",
        todo="Check the path, or copy or save the folder again.",
    )
