"""Opening weights wherever they are: a folder, a run, a hub id, or one file; all give one form."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from videomae_train.errors import CheckpointError
from videomae_train.model.config import VideoMAEConfig, on_trained_grid
from videomae_train.model.config_json import architecture_of, config_from_json
from videomae_train.model.config_v2 import config_from_v2
from videomae_train.model.folder_files import (
    CARD,
    CONFIG,
    PICKLE,
    PICKLE_SHARDS,
    PROCESSOR,
    read_json,
    read_statistics,
    read_tensors,
)
from videomae_train.model.layouts import from_hugging_face
from videomae_train.model.official import architecture_of_tensors, from_official, read_official

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
        companions: The model card and the image processor's file, where a folder has them: name to contents.
    """

    name: str
    config: VideoMAEConfig
    architecture: str
    state: dict[str, Tensor]
    dropped: dict[str, str] = field(default_factory=dict[str, str])
    companions: dict[str, bytes] = field(default_factory=dict[str, bytes])


def open_source(
    source: str | Path,
    *,
    config: VideoMAEConfig | None = None,
    entry: str | None = None,
    trust_pickle: bool = False,
) -> WeightsSource:
    """Read weights of any known kind.

    Args:
        source: A weights folder; a run's folder with `weights/` in it; an official .pth file; a run's .ckpt
            file; or the name of a hub repository, which is fetched.
        config: The architecture, for files that do not tell it, or for clips of another size than the
            weights were trained on; None reads or infers it.
        entry: Top-level key of an official file, such as "model_ema"; None takes "model", "module",
            "state_dict" or the file itself.
        trust_pickle: Load pickles that may run any code.

    Raises:
        CheckpointError: Nothing is there, or it is damaged or of no known kind.
        ConfigError: Values contradict each other, or nothing tells the clips that it was made for.
    """
    path = Path(source)
    if path.is_file():
        return _open_file(path, config=config, entry=entry, trust_pickle=trust_pickle)
    return _open_folder(folder_of(source), config=config, trust_pickle=trust_pickle)


def folder_of(source: str | Path) -> Path:
    """Find the folder that a source names, fetching it where it is a hub id.

    Raises:
        CheckpointError: Nothing is there, or the hub does not give it.
    """
    if Path(source).is_dir():
        return Path(source)
    if not _is_hub_id(source):
        raise CheckpointError(
            where=str(source),
            came="no such file or folder",
            expected="a weights folder, a run's folder, an official .pth file, a .ckpt file or a hub id (owner/name)",
            todo="Check the path.",
        )
    return fetch_from_hub(str(source))


def _is_hub_id(source: str | Path) -> bool:
    """Tell a hub id from a path to nothing, which has its form in ./name, ../name and in a folder that is there."""
    owner = str(source).partition("/")[0]
    return (
        _HUB_ID.fullmatch(str(source)) is not None and owner not in (".", "..") and not Path(owner).is_dir()
    )


def _open_file(
    path: Path, *, config: VideoMAEConfig | None, entry: str | None, trust_pickle: bool
) -> WeightsSource:
    official = read_official(path, config=config, entry=entry, trust_pickle=trust_pickle)
    return WeightsSource(str(path), official.config, official.architecture, official.state, official.dropped)


def _open_folder(folder: Path, *, config: VideoMAEConfig | None, trust_pickle: bool) -> WeightsSource:
    folder = _weights_of(folder)
    own, architecture = _folder_config(folder)
    tensors = read_tensors(folder, trust_pickle=trust_pickle)
    if architecture is None:
        state = from_official(tensors, where=str(folder))
        architecture = architecture_of_tensors(state)
    else:
        state = from_hugging_face(tensors)
    wanted = own if config is None else on_trained_grid(config, own)
    # A processor's crop is of the size that the weights were trained on.
    names = (CARD, PROCESSOR) if wanted.frame_size == own.frame_size else (CARD,)
    files = [folder / name for name in names]
    companions = {file.name: file.read_bytes() for file in files if file.is_file()}
    return WeightsSource(str(folder), wanted, architecture, state, companions=companions)


def read_config(source: str | Path) -> VideoMAEConfig:
    """Read the configuration of weights of any known kind; of a folder or a hub id, without reading tensors.

    A file tells it only as a whole, and is read once in a process, as long as it is the same one; the hub is asked
    once for each id.

    Raises:
        CheckpointError: There is none, or it is damaged.
    """
    path = Path(source)
    if path.is_dir():
        return _folder_config(_weights_of(path))[0]
    if path.is_file():
        file = path.stat()
        return _config_of_file(path.absolute(), file.st_ino, file.st_mtime_ns, file.st_size)
    return _config_on_hub(str(source))


@lru_cache(maxsize=8)
def _config_of_file(path: Path, *_of_its_contents: int) -> VideoMAEConfig:
    return open_source(path).config


@lru_cache(maxsize=8)
def _config_on_hub(source: str) -> VideoMAEConfig:
    return _folder_config(_weights_of(folder_of(source)))[0]


def local_folder(source: str | Path) -> Path | None:
    """Find the weights folder that a source names on this machine: itself or a run's; None for files and hub ids.

    Raises:
        CheckpointError: A run that has checkpoints, but no weights folder yet.
    """
    return _weights_of(Path(source)) if Path(source).is_dir() else None


def _weights_of(folder: Path) -> Path:
    """Find the weights in a run's folder; other folders are their own.

    Raises:
        CheckpointError: A run that has checkpoints, but no weights folder yet.
    """
    inner = folder / "weights"
    if (folder / CONFIG).is_file() or not folder.is_dir():
        return folder
    checkpoints = sorted((folder / "checkpoints").glob("*.ckpt"))
    if checkpoints and not (inner / CONFIG).is_file():
        raise CheckpointError(
            where=str(folder),
            came="a run without a weights folder, which is written at its end",
            expected="the folder of a finished run",
            todo=f"Finish it, or take its newest checkpoint: {checkpoints[-1]}.",
        )
    return inner if (inner / CONFIG).is_file() else folder


def _folder_config(folder: Path) -> tuple[VideoMAEConfig, str | None]:
    """Read a folder's configuration and class; None for VideoMAE V2's, whose tensors tell the class.

    Raises:
        CheckpointError: A file is missing or damaged.
        ConfigError: Values contradict each other, or the image processor's are of pixels that are not in [0, 1].
    """
    values = read_json(folder / CONFIG)
    processor = None if "image_mean" in values else read_statistics(folder)
    where = str(folder / CONFIG)
    if isinstance(values.get("model_config"), dict):
        return config_from_v2(values, where=where, processor=processor), None
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
        folder = Path(snapshot_download(repo, allow_patterns=wanted))
        if not any(folder.glob("*.safetensors")):  # older repositories have a pickle only
            folder = Path(snapshot_download(repo, allow_patterns=[*wanted, PICKLE, PICKLE_SHARDS]))
        return folder
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            where=repo,
            came=" ".join(f"{type(error).__name__}: {error}".split()),
            expected="a path that exists, or a repository of the Hugging Face hub that this machine can reach",
            todo=f"Where there is a network, run `videomae convert {repo} FOLDER --to hf`, and copy FOLDER.",
        ) from error
