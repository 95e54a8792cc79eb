"""Writing a weights folder in Hugging Face's form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from videomae_train.model.config import VideoMAEConfig
from videomae_train.model.config_json import config_to_json
from videomae_train.model.folder_files import CARD, CONFIG, PROCESSOR, TENSORS
from videomae_train.model.folders import replace_folder
from videomae_train.model.layouts import to_hugging_face


def write_weights_folder(
    folder: Path,
    config: VideoMAEConfig,
    architecture: str,
    state: Mapping[str, Tensor],
    card: str,
    companions: Mapping[str, bytes] | None = None,
) -> None:
    """Write the four files of a weights folder, whole or not at all.

    Args:
        folder: Made new, or replaced when it is an older weights folder.
        config: The architecture.
        architecture: Class name, as in `config_json`.
        state: Tensors under our names, on any device.
        card: Markdown of the model card (README.md).
        companions: Card or image processor of the weights' origin, which come before those made here.

    Raises:
        ConfigError: The folder exists and holds other files.
    """
    tensors = {name: tensor.cpu().contiguous() for name, tensor in to_hugging_face(state).items()}
    files = {
        CONFIG: _as_json(config_to_json(config, architecture)),
        TENSORS: save(tensors, metadata={"format": "pt"}),
        PROCESSOR: _as_json(processor_to_json(config)),
        CARD: card.encode(),
        **(companions or {}),
    }
    replace_folder(folder, files)


def write_config(folder: Path, config: VideoMAEConfig) -> None:
    """Write `config.json` alone, for no class in particular."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_bytes(_as_json(config_to_json(config, None)))


def processor_to_json(config: VideoMAEConfig) -> dict[str, object]:
    """Give the contents of `preprocessor_config.json`: how frames become the model's pixels."""
    height, width = config.frame_size
    return {
        "image_processor_type": "VideoMAEImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": min(height, width)},
        "resample": 2,
        "do_center_crop": True,
        "crop_size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(config.image_mean),
        "image_std": list(config.image_std),
    }


def plain_card(architecture: str) -> str:
    """Write a model card for weights that nobody described."""
    return f"# {architecture}\n\nSaved by videomae-train, without a recipe or a score.\n"


def _as_json(values: dict[str, object]) -> bytes:
    return (json.dumps(values, indent=2, sort_keys=True) + "\n").encode()
