"""The shape of every verb's configuration. YAML gives the values; most fields are those of the components' dataclasses.

Two fields never stand in YAML: a clip's frames and size follow from the model that it is for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import ConfigDict, Field, model_validator

from videomae_train.config.fields import (
    Frozen,
    HalfOpenShare,
    NonNegativeInt,
    OpenShare,
    Positive,
    PositiveInt,
)
from videomae_train.config.masking import MaskingConfig
from videomae_train.config.optim import OptimConfig
from videomae_train.config.watch import FinetuneWatchConfig, WatchConfig
from videomae_train.data.options import (
    EvaluationDataOptions,
    FinetuneDataOptions,
    LoaderOptions,
    PretrainDataOptions,
    SetOptions,
)
from videomae_train.data.reading import StorageOptions
from videomae_train.data.remote import RemoteOptions
from videomae_train.errors import ConfigError
from videomae_train.evaluation.number_format import PrecisionName
from videomae_train.model import VideoMAEConfig, read_config
from videomae_train.training.options import MixOptions, TrainerOptions, ValidationOptions, WandbOptions
from videomae_train.training.updating import UpdateOptions

FEWEST_NORMED = 8
"""Clips of a pass whose mean and variance batch norm may take; the published linear probing takes those of 512."""

# pydantic validates plain dataclasses too, but lets unknown keys pass unless the class says otherwise. Said here, the
# components need not know pydantic.
for _component in (
    VideoMAEConfig,
    PretrainDataOptions,
    SetOptions,
    FinetuneDataOptions,
    EvaluationDataOptions,
    LoaderOptions,
    StorageOptions,
    RemoteOptions,
    TrainerOptions,
    WandbOptions,
    MixOptions,
    ValidationOptions,
):
    setattr(_component, "__pydantic_config__", ConfigDict(extra="forbid"))  # noqa: B010


class TrainingConfig(Frozen):
    """What every training verb has."""

    seed: NonNegativeInt
    run: Path
    resume: Literal["never", "auto"]
    allow_changes: tuple[str, ...]
    max_fault_ratio: Annotated[float, Field(ge=0, le=1)]
    loader: LoaderOptions
    optim: OptimConfig
    trainer: TrainerOptions
    logger: WandbOptions

    @property
    def update(self) -> UpdateOptions:
        """How gradients become new weights."""
        return UpdateOptions(self.trainer.precision, self.optim.clip_grad_norm, self.optim.ema_decay)

    def settings(self) -> dict[str, Any]:
        """Give the configuration as plain values, for records."""
        return self.model_dump(mode="json")

    def given(self) -> dict[str, Any]:
        """Give the configuration as it came in, as plain values, which validated again give an equal one.

        It has no clip's shape, since that follows from the model.
        """
        return self.model_dump(mode="json", exclude={"data": {"num_frames", "size"}})


class PretrainConfig(TrainingConfig):
    """`videomae pretrain`."""

    init: Path | None
    model: VideoMAEConfig
    masking: MaskingConfig
    data: PretrainDataOptions
    watch: WatchConfig

    @model_validator(mode="before")
    @classmethod
    def _derive_clip_shape(cls, values: dict[str, Any]) -> dict[str, Any]:
        if not _given(values, "model", "data"):
            return values  # the validation that follows names what is missing
        model = values["model"]
        size = _side(model["image_size"], where="model.image_size")
        return with_clip_shape(values, num_frames=model["num_frames"], size=size)

    @model_validator(mode="after")
    def _check_layer_decay(self) -> Self:
        if self.optim.layer_decay < 1:
            raise ConfigError(
                where="optim.layer_decay",
                came=str(self.optim.layer_decay),
                expected="1.0 in pretraining: encoder and decoder learn at one rate",
                todo="Leave it out here; fine-tuning protects pretrained blocks by it.",
            )
        return self


class HeadConfig(Frozen):
    """What fine-tuning decides about the network beyond the pretrained encoder."""

    drop_path_rate: HalfOpenShare
    head_dropout: HalfOpenShare
    head_init_scale: Positive
    head_kind: Literal["linear", "batch_norm", "attentive"]


class FinetuneConfig(TrainingConfig):
    """`videomae finetune`, and `videomae probe` where it trains: the same with other values.

    Attributes:
        frozen_blocks: Encoder blocks that stay as they are, from the first on, and the embedding with them; "all" is
            the whole encoder, 0 nothing.
    """

    weights: Path | None
    model: VideoMAEConfig | None
    frozen_blocks: NonNegativeInt | Literal["all"]
    head: HeadConfig
    mix: MixOptions
    data: FinetuneDataOptions
    validation: ValidationOptions
    watch: FinetuneWatchConfig

    @model_validator(mode="before")
    @classmethod
    def _derive_clip_shape(cls, values: dict[str, Any]) -> dict[str, Any]:
        if not {"weights", "model"} <= set(values) or not _given(values, "data"):
            return values  # the validation that follows names what is missing
        weights, model = values["weights"], values["model"]
        if (weights is None) == (model is None):
            raise ConfigError(
                where="weights, model",
                came="neither" if weights is None else "both",
                expected="exactly one of them",
                todo="Give weights=<folder> to fine-tune pretrained weights, or model=tiny to train from scratch.",
            )
        if model is None:
            return with_clip_shape_of_weights(values)
        size = _side(model["image_size"], where="model.image_size")
        return with_clip_shape(values, num_frames=model["num_frames"], size=size)

    @model_validator(mode="after")
    def _check_probe(self) -> Self:
        depth, clips = self.source.num_hidden_layers, self.trainer.micro_batch
        if self.frozen_blocks != "all" and self.frozen_blocks > depth:
            raise ConfigError(
                where="frozen_blocks",
                came=str(self.frozen_blocks),
                expected=f"0 to {depth}, the encoder's blocks, or all",
                todo="Lower it.",
            )
        if clips != "auto":
            clips *= self.data.views
        if self.head.head_kind == "batch_norm" and (clips == "auto" or clips < FEWEST_NORMED):
            raise ConfigError(
                where="trainer.micro_batch",
                came="auto" if clips == "auto" else f"{clips} clips",
                expected=f"at least {FEWEST_NORMED} clips, whose mean batch norm (head.head_kind=batch_norm) takes",
                todo="Set trainer.micro_batch=64 or so: a frozen encoder keeps no activations.",
            )
        return self

    @property
    def source(self) -> VideoMAEConfig:
        """The architecture that fine-tuning starts from: the weights' or the model's."""
        if self.model is not None:
            return self.model
        assert self.weights is not None
        return read_config(self.weights)

    def architecture(self, classes: Mapping[int, str]) -> VideoMAEConfig:
        """Give the classifier of these classes: number to name."""
        return replace(self.source, **self.head.model_dump()).with_labels(dict(classes))


class EvaluateConfig(Frozen):
    """`videomae evaluate`, of one split.

    Attributes:
        splits: Nothing: `splits.split_configs` makes one configuration for each of several.
        card: Add the score to the card of a weights folder that a fine-tuning here made; others are never touched.
        precision: Of the matrix products; see `number_format.computing_in`.
    """

    run: Path
    weights: Path
    splits: None
    card: bool
    accelerator: Literal["auto", "cpu", "gpu"]
    devices: PositiveInt
    num_nodes: PositiveInt
    threads: PositiveInt | None
    precision: PrecisionName
    batch_videos: PositiveInt
    data: EvaluationDataOptions
    loader: LoaderOptions

    @model_validator(mode="before")
    @classmethod
    def _derive_clip_shape(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("weights") is None or not _given(values, "data"):
            return values  # the validation that follows names what is missing
        return with_clip_shape_of_weights(values)


class ReconstructConfig(Frozen):
    """`videomae reconstruct`."""

    run: Path
    weights: Path
    video: Path
    seed: NonNegativeInt
    stride: PositiveInt
    start: NonNegativeInt
    mask: Literal["tube", "random", "frame"]
    ratios: Annotated[tuple[OpenShare, ...], Field(min_length=1)]
    patch_statistics: Literal["estimated", "original"]


def _given(values: Mapping[str, Any], *parts: str) -> bool:
    return all(isinstance(values.get(part), dict) for part in parts)


def with_clip_shape_of_weights(values: Mapping[str, Any]) -> dict[str, Any]:
    """Derive a clip's shape from a weights folder; where `weights` is no path, the validation that follows says so.

    Raises:
        CheckpointError: There is no such weights folder.
        ConfigError: Its frames are not square, or as `with_clip_shape`.
    """
    if not isinstance(values["weights"], str | Path):
        return dict(values)
    model = read_config(Path(values["weights"]))
    size = _side(model.image_size, where="weights")
    return with_clip_shape(values, num_frames=model.num_frames, size=size)


def with_clip_shape(values: Mapping[str, Any], *, num_frames: int, size: Any) -> dict[str, Any]:
    """Add a clip's frames and size, which follow from the model, to the data's values.

    Raises:
        ConfigError: They were given by hand.
    """
    given = sorted({"num_frames", "size"} & set(values["data"]))
    if given:
        raise ConfigError(
            where=f"data.{given[0]}",
            came="a value of its own",
            expected="none: a clip has the frames and size of its model",
            todo="Change model.num_frames or model.image_size instead.",
        )
    return {**values, "data": {**values["data"], "num_frames": num_frames, "size": size}}


def _side(image_size: Any, *, where: str) -> Any:
    """Give the side of a model's square frames; the validation that follows names what is no size at all.

    Raises:
        ConfigError: The frames are not square.
    """
    if not isinstance(image_size, list | tuple) or not image_size:
        return image_size
    sides = cast("Sequence[object]", image_size)
    if all(side == sides[0] for side in sides):
        return sides[0]
    raise ConfigError(
        where=where,
        came=f"frames of {'x'.join(map(str, sides))}",
        expected="a model of square frames",
        todo="Take other weights, or give model.image_size as one number.",
    )
