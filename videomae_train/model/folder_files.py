"""The files of a weights folder, read: JSON, safetensors or older pickles, whole or in shards."""

from __future__ import annotations

import json
from math import isclose
from pathlib import Path
from typing import cast

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from videomae_train.errors import CheckpointError, ConfigError
from videomae_train.model.pickles import load_pickle

CONFIG, TENSORS, PROCESSOR, CARD = "config.json", "model.safetensors", "preprocessor_config.json", "README.md"
VIDEO_PROCESSOR = "video_preprocessor_config.json"
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


def processor_file(folder: Path) -> Path:
    """Find the image processor's file; where transformers 5 wrote its video processor alone, that one's."""
    image, video = folder / PROCESSOR, folder / VIDEO_PROCESSOR
    return video if video.is_file() and not image.is_file() else image


def read_statistics(folder: Path) -> dict[str, object]:
    """Read image_mean and image_std, of pixels in [0, 1], off the image processor's file, as far as there are any.

    Raises:
        CheckpointError: The file is damaged.
        ConfigError: The values are for pixels of another scale than [0, 1].
    """
    file = processor_file(folder)
    values = read_json(file) if file.is_file() else {}
    _check_scale(values, file)
    means = values.get("image_mean")
    if values.get("do_normalize") is False:
        channels = len(cast("list[object]", means)) if isinstance(means, list) else 3
        return {"image_mean": [0.0] * channels, "image_std": [1.0] * channels}
    return {key: values[key] for key in ("image_mean", "image_std") if key in values}


def _check_scale(processor: dict[str, object], file: Path) -> None:
    factor = processor.get("rescale_factor")
    usual = factor is None or (isinstance(factor, float) and isclose(factor, 1 / 255, rel_tol=1e-6))
    if usual and processor.get("do_rescale") is not False:
        return
    raise ConfigError(
        where=str(file),
        came=f"rescale_factor {factor}" if not usual else "do_rescale false",
        expected="bytes that become pixels in [0, 1]: do_rescale true, rescale_factor 1/255",
        todo="Give image_mean and image_std of such pixels in config.json, or correct this file.",
    )


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
