"""What a model configuration must fulfil; every refusal names the field."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videomae_train.errors import ConfigError

if TYPE_CHECKING:
    from videomae_train.model.config import VideoMAEConfig

_POSITIVE = [
    "patch_size",
    "num_channels",
    "num_frames",
    "tubelet_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "decoder_num_attention_heads",
    "decoder_hidden_size",
    "decoder_num_hidden_layers",
    "decoder_intermediate_size",
    "initializer_range",
    "layer_norm_eps",
    "decoder_norm_eps",
    "fc_norm_eps",
]
_CHOICES = {
    "hidden_act": ("gelu", "gelu_pytorch_tanh", "relu"),
    "decoder_kind": ("joint", "cross"),
    "head_kind": ("linear", "batch_norm", "attentive"),
}
_SHARES = ["hidden_dropout_prob", "attention_probs_dropout_prob", "drop_path_rate", "head_dropout"]


def check_config(config: VideoMAEConfig) -> None:
    """Refuse a configuration with a value out of range, or with values that contradict each other.

    Raises:
        ConfigError: At the first such field.
    """
    for check in (_check_numbers, _check_choices, _check_divisions, _check_channels, _check_labels):
        check(config)


def _error(name: str, came: str, expected: str, todo: str = "Change one of them.") -> ConfigError:
    return ConfigError(where=f"model.{name}", came=came, expected=expected, todo=todo)


def _check_numbers(config: VideoMAEConfig) -> None:
    values = vars(config)
    for name in _POSITIVE:
        if not values[name] > 0:
            raise _error(name, str(values[name]), "a number above 0", "Set it to the size you want.")
    for name in _SHARES:
        if not 0.0 <= values[name] < 1.0:
            raise _error(name, str(values[name]), "a share in [0, 1)", "Set it to 0 to switch it off.")
    if config.num_labels < 0:
        raise _error(
            "num_labels", str(config.num_labels), "0 or more classes", "Use 0 for a model without head."
        )


def _check_choices(config: VideoMAEConfig) -> None:
    values = vars(config)
    for name, choices in _CHOICES.items():
        if values[name] not in choices:
            raise _error(name, repr(values[name]), " or ".join(map(repr, choices)), "Choose one of them.")
    if config.head_kind != "linear" and not config.use_mean_pooling:
        raise _error(
            "head_kind",
            f"{config.head_kind!r} with use_mean_pooling=False",
            "use_mean_pooling=True: these heads pool over all tokens",
        )
    if config.position_grid is not None and (len(config.position_grid) != 3 or min(config.position_grid) < 1):
        raise _error(
            "position_grid",
            str(config.position_grid),
            "patches along t, h and w",
            "Leave it out for the own grid.",
        )


def _check_labels(config: VideoMAEConfig) -> None:
    names = config.id2label
    if names and config.num_labels not in (0, len(names)):
        came = f"{config.num_labels}, but id2label names {len(names)}"
        raise _error("num_labels", came, "the same number of classes in both")
    if sorted(names) != list(range(len(names))) or len(set(names.values())) != len(names):
        came = f"{len(names)} classes {min(names)} to {max(names)} of {len(set(names.values()))} names"
        raise _error(
            "id2label", came, "numbers 0 .. K-1 without a gap, each with its own name", "Correct the names."
        )


def _check_divisions(config: VideoMAEConfig) -> None:
    height, width = config.frame_size
    divisions = (
        ("image_size", height, "patch_size", config.patch_size),
        ("image_size", width, "patch_size", config.patch_size),
        ("num_frames", config.num_frames, "tubelet_size", config.tubelet_size),
        ("hidden_size", config.hidden_size, "num_attention_heads", config.num_attention_heads),
        (
            "decoder_hidden_size",
            config.decoder_hidden_size,
            "decoder_num_attention_heads",
            config.decoder_num_attention_heads,
        ),
    )
    for name, whole, divisor_name, divisor in divisions:
        if whole < 1 or whole % divisor:
            raise _error(
                name, f"{whole} is no multiple of {divisor_name}={divisor}", f"a multiple of {divisor}"
            )


def _check_channels(config: VideoMAEConfig) -> None:
    for name, values in (("image_mean", config.image_mean), ("image_std", config.image_std)):
        if len(values) != config.num_channels:
            raise _error(
                name,
                f"{len(values)} values for num_channels={config.num_channels}",
                "one value per channel",
                "Give the statistics of your own pixels in [0, 1].",
            )
    if min(config.image_std) <= 0:
        raise _error(
            "image_std", str(config.image_std), "values above 0", "Use 1 to leave a channel as it is."
        )
