"""Files of the official VideoMAE and VideoMAE V2 releases, read and written; checkpoints of runs, read."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch import Tensor

from videomae_train.errors import CheckpointError, ConfigError
from videomae_train.model.config import VideoMAEConfig, on_trained_grid
from videomae_train.model.config_json import CLASSIFICATION, ENCODER, PRETRAINING, config_from_json
from videomae_train.model.inference import infer_config
from videomae_train.model.pickles import load_pickle

ENTRIES = ("model", "module", "state_dict")
_AVERAGED, _OWN = "averaged_weights", "state_dict"  # as a run's checkpoint has them
_WRAPPERS = ("_orig_mod.", "module.", "backbone.", "model.")


@dataclass(frozen=True)
class OfficialFile:
    """An official file in our terms; see `sources.WeightsSource` for the fields."""

    config: VideoMAEConfig
    architecture: str
    state: dict[str, Tensor]
    dropped: dict[str, str]


def read_official(
    path: Path, *, config: VideoMAEConfig | None = None, entry: str | None = None, trust_pickle: bool = False
) -> OfficialFile:
    """Read a pretraining, fine-tuned or encoder-only file of VideoMAE V1 or V2, or a run's checkpoint.

    Args:
        path: The .pth or .ckpt file.
        config: The architecture; None takes the one in the file, where ours wrote it, or infers it from the
            tensors, with the released head counts.
        entry: Top-level key; None takes the first of "model", "module", "state_dict", or the whole file.
        trust_pickle: Load a pickle that may run any code.

    Raises:
        CheckpointError: The file is unreadable, has no such entry, or holds no VideoMAE.
        ConfigError: A classifier of other clips than the released ones, as its command line in the file says.
    """
    loaded = load_pickle(path, trust=trust_pickle)
    contents = _entry(loaded, entry, path)
    dropped = {name: "no tensor" for name, value in contents.items() if not isinstance(value, Tensor)}
    tensors = {name: value for name, value in contents.items() if isinstance(value, Tensor)}
    state = from_official(tensors, where=str(path))
    written = _written_config(loaded, path)
    if config is None:
        config = written or _inferred_config(state, loaded, path)
    elif written is not None:
        config = on_trained_grid(config, written)
    return OfficialFile(config, architecture_of_tensors(state), state, dropped)


def from_official(state: Mapping[str, Tensor], *, where: str) -> dict[str, Tensor]:
    """Rename official tensors as ours: without wrappers' prefixes, and the encoder's under `encoder.`.

    Raises:
        CheckpointError: Two tensors come to the same name.
    """
    bare: dict[str, Tensor] = {}
    for name, tensor in state.items():
        stripped = _unwrapped(name)
        if stripped in bare:
            raise CheckpointError(
                where=where,
                came=f"{stripped} twice, once as {name}",
                expected="each tensor once",
                todo="Choose one entry of the file.",
            )
        bare[stripped] = tensor
    return {_with_encoder(name): tensor for name, tensor in bare.items()}


def to_official(state: Mapping[str, Tensor], architecture: str) -> dict[str, Tensor]:
    """Rename our tensors as the official files have them."""
    if architecture == PRETRAINING:
        return dict(state)
    return {name.removeprefix("encoder."): tensor for name, tensor in state.items()}


def _entry(loaded: object, entry: str | None, path: Path) -> dict[str, object]:
    contents = cast("dict[str, object]", loaded) if isinstance(loaded, dict) else {}
    key = entry or next((key for key in ENTRIES if isinstance(contents.get(key), Mapping)), None)
    chosen = contents if key is None else contents.get(key)
    if isinstance(chosen, Mapping) and any(isinstance(value, Tensor) for value in chosen.values()):
        tensors = dict(cast("Mapping[str, object]", chosen))
        return _with_statistics(tensors, contents[_OWN]) if key == _AVERAGED and _OWN in contents else tensors
    raise CheckpointError(
        where=str(path),
        came=f"no tensors under {key or 'the top level'}; keys {sorted(map(str, contents))[:8]}",
        expected="named tensors, at the top or under 'model', 'module' or another entry",
        todo="Name the right entry, such as model_ema.",
    )


def _with_statistics(averaged: dict[str, object], own: object) -> dict[str, object]:
    """Add what is not averaged: a batch norm's statistics, those of the last step, as in the run's weights folder."""
    names = {_unwrapped(name) for name in averaged}
    others = cast("Mapping[str, object]", own).items()
    return {**averaged, **{name: value for name, value in others if _unwrapped(name) not in names}}


def _unwrapped(name: str) -> str:
    """Strip what torch.compile, DistributedDataParallel and wrapping models put in front of every name."""
    name = name.replace("_orig_mod.", "")
    stripped = name
    while stripped.startswith(_WRAPPERS):
        stripped = stripped.partition(".")[2]
    return stripped


def _with_encoder(name: str) -> str:
    own = re.match(r"patch_embed\.|blocks\.|norm\.", name)
    return f"encoder.{name}" if own else name


def architecture_of_tensors(state: Mapping[str, Tensor]) -> str:
    """Tell the class that tensors under our names belong to; features of a classifier count as one."""
    if "mask_token" in state:
        return PRETRAINING
    return CLASSIFICATION if "head.weight" in state or "fc_norm.weight" in state else ENCODER


def _written_config(loaded: object, path: Path) -> VideoMAEConfig | None:
    """Read the configuration that our own exports and checkpoints carry."""
    values = cast("dict[str, object]", loaded).get("config")
    if not isinstance(values, dict) or "model_type" not in values:
        return None
    return config_from_json(cast("dict[str, object]", values), where=f"{path}, config")


def _inferred_config(state: Mapping[str, Tensor], loaded: object, path: Path) -> VideoMAEConfig:
    config = infer_config(state, where=str(path))
    if architecture_of_tensors(state) == CLASSIFICATION:
        _check_clips(config, cast("dict[str, object]", loaded).get("args"), path)
    return config


def _check_clips(config: VideoMAEConfig, args: object, path: Path) -> None:
    """Refuse a classifier whose command line tells of other clips: positions are in no file, nothing else would show.

    Not for pretraining files: there the published code does not heed num_frames.

    Raises:
        ConfigError: It does.
    """
    said: object = vars(args) if isinstance(args, Namespace) else args
    counts = {"num_frames": config.num_frames, "num_segments": 1, "input_size": config.frame_size[0]}
    if isinstance(said, Mapping):
        values = cast("Mapping[str, object]", said)
        counts |= {name: value for name in counts if isinstance(value := values.get(name), int)}
    frames, size = counts["num_frames"] * counts["num_segments"], counts["input_size"]
    if (frames, size) != (config.num_frames, config.frame_size[0]):
        raise ConfigError(
            where=f"{path}, args",
            came=f"clips of {frames} frames of {size}x{size}",
            expected=f"{config.num_frames} frames of {config.frame_size[0]}x{config.frame_size[0]}, as released",
            todo="Convert it with the architecture, these num_frames and image_size in it: `videomae convert --config "
            "FOLDER` (config= in Python); VideoMAEConfig(...).save_pretrained(FOLDER) writes one.",
        )
