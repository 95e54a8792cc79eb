"""Converting weights between the layouts of other systems, with an account of every tensor."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from pathlib import Path

import torch
from safetensors.torch import save_file

from videomae_train.errors import CheckpointError, ConfigError
from videomae_train.model.audit import WeightsReport
from videomae_train.model.classifier import VideoMAEForVideoClassification
from videomae_train.model.config import VideoMAEConfig
from videomae_train.model.config_json import (
    CLASSIFICATION,
    ENCODER,
    PRETRAINING,
    config_to_json,
    is_representable,
)
from videomae_train.model.encoder_model import VideoMAEModel
from videomae_train.model.layouts import to_timm
from videomae_train.model.official import to_official
from videomae_train.model.onnx_export import export_onnx
from videomae_train.model.placing import encoder_config, place_encoder, place_exactly
from videomae_train.model.pretraining import VideoMAEForPreTraining
from videomae_train.model.saving import plain_card, write_weights_folder
from videomae_train.model.sources import WeightsSource, open_source


class Layout(StrEnum):
    """What weights are converted to."""

    HF = "hf"
    OFFICIAL = "official"
    TIMM = "timm"
    ONNX = "onnx"


def convert(
    source: str | Path,
    destination: Path,
    *,
    to: Layout,
    allow: Collection[str] = (),
    encoder_only: bool = False,
    config: VideoMAEConfig | None = None,
    entry: str | None = None,
    trust_pickle: bool = False,
) -> WeightsReport:
    """Read weights of any known kind and write them in a layout.

    Args:
        source: A weights folder, a run's folder or checkpoint, an official file or a hub id.
        destination: A folder for "hf"; a .pth file for "official"; a .safetensors file for "timm"; an .onnx
            file.
        to: The layout.
        allow: Exact names of tensors that may be missing, extra or of another shape.
        encoder_only: Leave decoder and head behind; timm's layout always leaves the decoder.
        config: The architecture, for files that do not tell it; None reads or infers it.
        entry: Top-level key of an official file, such as "model_ema".
        trust_pickle: Load a pickle that may run any code.

    Returns:
        The fate of every tensor; its `table()` is for printing.

    Raises:
        CheckpointError: The source is damaged, or a tensor is missing, extra or of another shape.
        ConfigError: The layout cannot represent the model, or the destination is in the way.
    """
    opened = open_source(source, config=config, entry=entry, trust_pickle=trust_pickle)
    without_decoder = to is Layout.TIMM and opened.architecture == PRETRAINING
    architecture = ENCODER if encoder_only or without_decoder else opened.architecture
    model, report = _filled(opened, architecture, allow)
    if isinstance(model, VideoMAEForVideoClassification):
        model = model.folded()
    _refuse_unrepresentable(model.config, architecture, to)
    if to is Layout.HF:
        card = plain_card(architecture)
        write_weights_folder(
            destination, model.config, architecture, model.state_dict(), card, opened.companions
        )
        return report
    if destination.exists():
        raise ConfigError(
            where=str(destination),
            came="something is there already",
            expected="a new file",
            todo="Remove it, or give another name.",
        )
    destination.parent.mkdir(parents=True, exist_ok=True)
    _write_file(model, destination, to, architecture)
    return report


def push_folder(folder: Path, repo: str) -> str:
    """Upload a weights folder to the Hugging Face hub, making the repository if need be; gives its address.

    Raises:
        CheckpointError: The folder is no readable weights folder, or the hub does not take it.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    open_source(folder)
    api = HfApi()
    try:
        address = api.create_repo(repo, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=folder)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise CheckpointError(
            where=repo,
            came=f"{type(error).__name__}: {error}",
            expected="a hub repository that you may write to",
            todo=f"Log in with `hf auth login` and push again; the folder itself is whole: {folder}.",
        ) from error
    return str(address)


Model = VideoMAEForPreTraining | VideoMAEForVideoClassification | VideoMAEModel


def _filled(opened: WeightsSource, architecture: str, allow: Collection[str]) -> tuple[Model, WeightsReport]:
    """Build the model of the source's class, so that a conversion proves that the weights run."""
    if architecture == ENCODER:
        model = VideoMAEModel(encoder_config(opened))
        return model, place_encoder(model, opened, allow)
    classes = {PRETRAINING: VideoMAEForPreTraining, CLASSIFICATION: VideoMAEForVideoClassification}
    made = classes[architecture](opened.config)
    return made, place_exactly(made, opened, architecture, allow)


def _refuse_unrepresentable(config: VideoMAEConfig, architecture: str, to: Layout) -> None:
    if architecture == CLASSIFICATION and config.head_kind == "attentive" and to is not Layout.ONNX:
        raise ConfigError(
            where=f"--to {to}",
            came="an attentive head (head_kind=attentive)",
            expected="a classifier that the other system can compute",
            todo="Keep our own folder, write ONNX, or export the encoder alone with --encoder-only.",
        )
    if to in (Layout.HF, Layout.OFFICIAL) and not is_representable(config, architecture):
        resampled = config.trained_grid != config.grid
        raise ConfigError(
            where=f"--to {to}",
            came="a resampled position table" if resampled else "a cross-attention decoder",
            expected="a model that the other system can compute",
            todo="Keep our own folder." if resampled else "Export the encoder alone with --encoder-only.",
        )


def _write_file(model: Model, path: Path, to: Layout, architecture: str) -> None:
    if to is Layout.ONNX:
        if not isinstance(model, VideoMAEForVideoClassification):
            raise ConfigError(
                where="--to onnx",
                came=f"a {architecture}",
                expected="a classifier",
                todo="Fine-tune it first.",
            )
        export_onnx(model, path)
    elif to is Layout.TIMM:
        save_file({name: tensor.contiguous() for name, tensor in to_timm(model.state_dict()).items()}, path)
    else:
        values = config_to_json(model.config, architecture)
        torch.save({"model": to_official(model.state_dict(), architecture), "config": values}, path)
