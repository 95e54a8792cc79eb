"""The configuration as `config.json`, in the form that transformers reads and writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, cast

from videomae_train.errors import CheckpointError
from videomae_train.model.config import VideoMAEConfig

PRETRAINING = "VideoMAEForPreTraining"
CLASSIFICATION = "VideoMAEForVideoClassification"
ENCODER = "VideoMAEModel"

# transformers names its class so; it leaves out values that equal its own defaults, so these are needed for
# reading.
MODEL_TYPE = "videomae"
# Folders that transformers would load into another function than the trained one carry a type it does not
# know.
OWN_MODEL_TYPE = "videomae_train"
_TRANSFORMERS_DEFAULTS: dict[str, object] = {
    "layer_norm_eps": 1e-12,
    "decoder_norm_eps": 1e-5,
    "fc_norm_eps": 1e-5,
    "use_mean_pooling": True,
}


def config_to_json(config: VideoMAEConfig, architecture: str | None) -> dict[str, object]:
    """Give the contents of `config.json` for a model of this configuration.

    In transformers, use_mean_pooling=False is also what gives the encoder its final norm, so a pretraining
    model that has one is written with False whatever its classifier is to do.

    Args:
        config: The model's configuration.
        architecture: One of the three class names that transformers shares; None for a configuration alone.
    """
    values = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(config).items()}
    del values["num_labels"], values["id2label"]
    if architecture in (PRETRAINING, ENCODER):
        values["use_mean_pooling"] = not config.encoder_norm
    if config.num_labels or architecture == CLASSIFICATION:
        # Even when it is empty: where there is none, transformers makes up two classes.
        values["id2label"] = {str(number): name for number, name in config.id2label.items()}
        values["label2id"] = config.label2id
    model_type = MODEL_TYPE if is_representable(config, architecture) else OWN_MODEL_TYPE
    return {
        "architectures": [architecture] if architecture else [],
        "model_type": model_type,
        "dtype": "float32",
        **values,
    }


def is_representable(config: VideoMAEConfig, architecture: str | None) -> bool:
    """Tell whether transformers computes this model: it has no resampled positions, cross decoder or other heads."""
    joint = config.decoder_kind == "joint" or architecture != PRETRAINING
    linear = config.head_kind == "linear" or architecture != CLASSIFICATION
    return config.trained_grid == config.grid and joint and linear


def config_from_json(
    values: Mapping[str, object], *, where: str, processor: Mapping[str, object] | None = None
) -> VideoMAEConfig:
    """Read `config.json`, written by us or by transformers 4 or 5.

    Args:
        values: The parsed file.
        where: The file's name, for errors.
        processor: The pixels' mean and deviation (`image_mean`, `image_std`) of the image processor beside it.

    Raises:
        CheckpointError: Another model type, or a value of the wrong type.
        ConfigError: Values that contradict each other.
    """
    if values.get("model_type") not in (MODEL_TYPE, OWN_MODEL_TYPE):
        raise CheckpointError(
            where=where,
            came=f"model_type {values.get('model_type')!r}",
            expected=f"{MODEL_TYPE!r}",
            todo="Give the folder of a VideoMAE model.",
        )
    merged = _with_defaults(values, processor or {})
    known = {spec.name for spec in fields(VideoMAEConfig)}
    typed = {name: _typed(name, merged[name], where) for name in known & set(merged)}
    return VideoMAEConfig(**cast("dict[str, Any]", typed))


def architecture_of(values: Mapping[str, object]) -> str:
    """Name the class that a `config.json` was written for; the bare encoder when it does not say."""
    names = values.get("architectures")
    return str(cast("list[object]", names)[0]) if isinstance(names, list) and names else ENCODER


def _with_defaults(values: Mapping[str, object], processor: Mapping[str, object]) -> dict[str, object]:
    """Fill in what transformers leaves out of its file because it is the default or hard-wired."""
    merged = {**_TRANSFORMERS_DEFAULTS, **values}
    if "qv_bias" in values:
        merged["qkv_bias"] = values["qv_bias"]
    ours_alone = "encoder_norm" in values and not values.get("architectures")
    if architecture_of(values) in (PRETRAINING, ENCODER) and not ours_alone:
        # Here the flag says whether the encoder has a norm; what a classifier will do is not in the file.
        merged |= {"encoder_norm": not merged["use_mean_pooling"], "use_mean_pooling": True}
    if architecture_of(values) == CLASSIFICATION and "id2label" not in values:
        merged.setdefault("num_labels", 2)
    if "image_mean" not in values:
        # Without three channels transformers leaves pixels as they are.
        neutral = {} if values.get("num_channels", 3) == 3 else _neutral(cast("int", values["num_channels"]))
        merged |= {
            **neutral,
            **{key: processor[key] for key in ("image_mean", "image_std") if key in processor},
        }
    return merged


def _neutral(num_channels: int) -> dict[str, object]:
    return {"image_mean": [0.0] * num_channels, "image_std": [1.0] * num_channels}


_SQUARES = ("image_size", "patch_size")  # two equal numbers are one
_TUPLES = ("image_size", "image_mean", "image_std", "position_grid")


def _typed(name: str, value: object, where: str) -> object:
    """Turn a JSON value into what the field holds, or refuse it."""
    if name == "id2label" and isinstance(value, dict):
        return {int(number): str(label) for number, label in cast("dict[str, object]", value).items()}
    if name in _SQUARES and isinstance(value, list) and len(set(cast("list[object]", value))) == 1:
        return _typed(name, cast("list[object]", value)[0], where)
    if name in _TUPLES and isinstance(value, list):
        return tuple(cast("list[object]", value))
    if name == "position_grid" and value is None:
        return None
    default = next(spec.default for spec in fields(VideoMAEConfig) if spec.name == name)
    wanted = (int, float) if isinstance(default, float) else (type(default),)
    if not isinstance(value, wanted) or isinstance(value, bool) is not isinstance(default, bool):
        raise CheckpointError(
            where=f"{where}, {name}",
            came=repr(value),
            expected=f"a value of type {type(default).__name__}",
            todo="Correct the file, or fetch it again.",
        )
    return float(value) if isinstance(value, int) and isinstance(default, float) else value
