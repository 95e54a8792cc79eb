"""`config.json` of the VideoMAE V2 folders on the hub: an encoder's arguments nested under `model_config`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from videomae_train.errors import CheckpointError
from videomae_train.model.config import VideoMAEConfig

_NAMES = {
    "img_size": "image_size",
    "patch_size": "patch_size",
    "in_chans": "num_channels",
    "embed_dim": "hidden_size",
    "depth": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "qkv_bias": "qkv_bias",
    "drop_rate": "hidden_dropout_prob",
    "attn_drop_rate": "attention_probs_dropout_prob",
    "drop_path_rate": "drop_path_rate",
    "head_drop_rate": "head_dropout",
    "tubelet_size": "tubelet_size",
    "num_frames": "num_frames",
    "use_mean_pooling": "use_mean_pooling",
    "num_classes": "num_labels",
}
# Options that change what the weights compute, and that no model here has: only these values will do.
_ONLY: dict[str, tuple[object, ...]] = {
    "cos_attn": (False,),
    "use_learnable_pos_emb": (False,),
    "init_values": (0, None),
    "qk_scale": (None,),
    "norm_layer": ("nn.LayerNorm", "LayerNorm"),
}
# Said in a way of their own below, or without effect on what the weights compute.
_OTHER = {"mlp_ratio", "layer_norm_eps", "with_cp", "init_scale"}


def config_from_v2(
    values: Mapping[str, object], *, where: str, processor: Mapping[str, object] | None = None
) -> VideoMAEConfig:
    """Read the configuration of a VideoMAE V2 folder.

    Args:
        values: The parsed `config.json`.
        where: The file's name, for errors.
        processor: The pixels' mean and deviation (`image_mean`, `image_std`) of the image processor beside it.

    Raises:
        CheckpointError: An option that no model here computes, or a key of unknown meaning.
        ConfigError: Values that contradict each other.
    """
    nested = cast("Mapping[str, Any]", values["model_config"])
    _refuse_others(nested, where)
    sizes: dict[str, Any] = {ours: nested[theirs] for theirs, ours in _NAMES.items() if theirs in nested}
    if "mlp_ratio" in nested and "hidden_size" in sizes:
        sizes["intermediate_size"] = int(sizes["hidden_size"] * nested["mlp_ratio"])
    eps = float(nested.get("layer_norm_eps", 1e-6))
    statistics = {
        name: tuple(cast("list[float]", processor[name]))
        for name in ("image_mean", "image_std")
        if processor is not None and name in processor
    }
    config = VideoMAEConfig(**sizes, layer_norm_eps=eps, fc_norm_eps=eps, **cast("Any", statistics))
    return replace(config, encoder_norm=not config.use_mean_pooling)


def _refuse_others(nested: Mapping[str, object], where: str) -> None:
    unknown = sorted(nested.keys() - _NAMES.keys() - _ONLY.keys() - _OTHER)
    wrong = [
        f"{key}={nested[key]!r}" for key, fit in _ONLY.items() if key in nested and nested[key] not in fit
    ]
    if unknown or wrong:
        raise CheckpointError(
            where=f"{where}, model_config",
            came=", ".join([*wrong, *(f"the unknown key {key}" for key in unknown)]),
            expected="the options of the released models, without cosine attention or layer scale",
            todo="Use the system that trained these weights: another function would be computed here.",
        )
