"""Opening weights wherever they are: a folder, a run, a hub id, or an official file; all give one form."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from videomae_train.errors import CheckpointError
from videomae_train.model.config import VideoMAEConfig
from videomae_train.model.config_json import architecture_of, config_from_json
from videomae_train.model.layouts import from_hugging_face
from videomae_train.model.official import read_official
from videomae_train.model.pickles import load_pickle

CONFIG, TENSORS, PROCESSOR, CARD = "config.json", "model.safetensors", "preprocessor_config.json", "README.md"
_SHARDS, _PICKLE = "model.safetensors.index.json", "pytorch_model.bin"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class WeightsSource:
    """Weights with everything needed to use them.

    Attributes:
        name: Where they came from, for reports and errors.
        config: Their architecture.
        architecture: Class name: VideoMAEForPreTraining, VideoMAEForVideoClassification or VideoMAEModel.
        state: Tensors under our names.
        dropped: Tensors set aside in reading (under the source's names), with the reason.
    """

    name: str
    config: VideoMAEConfig
    architecture: str
    state: dict[str, Tensor]
    dropped: dict[str, str] = field(default_factory=dict[str, str])


def open_source(
    source: str | Path,
    *,
    config: VideoMAEConfig | None = None,
    entry: str | None = None,
    trust_pickle: bool = False,
) -> WeightsSource:
    """Read weights of any known kind.

    Args:
        source: A weights folder; a run's folder with `weights/` in it; an official .pth file; or the name of
            a hub repository, which is fetched.
        config: The architecture, for files that do not tell it; None reads or infers it.
        entry: Top-level key of an official file, such as "model_ema"; None takes "model", "module" or the
            file itself.
        trust_pickle: Load pickles that may run any code.

    Raises:
        CheckpointError: Nothing is there, or it is damaged or of no known kind.
    """
    path = Path(source)
    if path.is_file():
        official = read_official(path, config=config, entry=entry, trust_pickle=trust_pickle)
        return WeightsSource(
            str(path), official.config, official.architecture, official.state, official.dropped
        )
    if path.is_dir():
        return open_folder(path, config=config, trust_pickle=trust_pickle)
    if _HUB_ID.fullmatch(str(source)):
        return open_folder(fetch_from_hub(str(source)), config=config, trust_pickle=trust_pickle)
    raise CheckpointError(
        where=str(source),
        came="nothing there",
        expected="a weights folder, a run's folder, an official .pth file or a hub id (owner/name)",
        todo="Check the path.",
    )


def open_folder(
    folder: Path, *, config: VideoMAEConfig | None = None, trust_pickle: bool = False
) -> WeightsSource:
    """Read a weights folder, or the `weights/` folder of a run.

    Raises:
        CheckpointError: It is incomplete or damaged.
    """
    folder = _weights_of(folder)
    own, architecture = _folder_config(folder)
    state = from_hugging_face(_read_tensors(folder, trust_pickle=trust_pickle))
    return WeightsSource(str(folder), config or own, architecture, state)


def read_config(source: str | Path) -> VideoMAEConfig:
    """Read the configuration of weights of any known kind; of a folder, without reading its tensors.

    Raises:
        CheckpointError: There is none, or it is damaged.
    """
    if Path(source).is_dir():
        return _folder_config(_weights_of(Path(source)))[0]
    return open_source(source).config


def _weights_of(folder: Path) -> Path:
    """Find the weights in a run's folder; other folders are their own."""
    inner = folder / "weights"
    return inner if not (folder / CONFIG).is_file() and (inner / CONFIG).is_file() else folder


def _folder_config(folder: Path) -> tuple[VideoMAEConfig, str]:
    values = _read_json(folder / CONFIG)
    processor = _read_json(folder / PROCESSOR) if (folder / PROCESSOR).is_file() else None
    where = str(folder / CONFIG)
    return config_from_json(values, where=where, processor=processor), architecture_of(values)


def fetch_from_hub(repo: str) -> Path:
    """Download a hub repository's weights folder, or find it in the cache: its local path.

    Raises:
        CheckpointError: The hub cannot be reached, or has no such repository.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = ["*.json", "*.safetensors", CARD]
    try:
        return Path(snapshot_download(repo, allow_patterns=wanted))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            where=repo,
            came=f"{type(error).__name__}: {error}",
            expected="a repository of the Hugging Face hub that this machine can reach",
            todo=f"Where there is a network, run `videomae convert {repo} FOLDER --to hf`, and copy FOLDER.",
        ) from error


def _read_tensors(folder: Path, *, trust_pickle: bool) -> dict[str, Tensor]:
    if (folder / _SHARDS).is_file():
        names = cast("dict[str, str]", _read_json(folder / _SHARDS)["weight_map"])
        return _read_files([folder / name for name in sorted(set(names.values()))])
    if not (folder / TENSORS).is_file() and (folder / _PICKLE).is_file():
        return cast("dict[str, Tensor]", load_pickle(folder / _PICKLE, trust=trust_pickle))
    return _read_files([folder / TENSORS])


def _read_files(paths: Collection[Path]) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for path in paths:
        try:
            state |= load_file(path)
        except (OSError, SafetensorError) as error:
            raise _unreadable(path, error) from error
    return state


def _read_json(path: Path) -> dict[str, object]:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(values, dict):
        raise _unreadable(path, TypeError("no JSON object"))
    return cast("dict[str, object]", values)


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        where=str(path),
        came=f"{type(error).__name__}: {error}",
        expected="a whole file of a weights folder",
        todo="Check the path, or copy or save the folder again.",
    )
