"""Numbers that would divide by zero, do nothing or do the opposite are refused by name, whatever the verb."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from videomae_train.config.knn import NeighboursConfig
from videomae_train.config.loader import compose_config, resolve_config, validate_config
from videomae_train.config.schema import EvaluateConfig, FinetuneConfig, PretrainConfig, ReconstructConfig
from videomae_train.errors import ConfigError
from videomae_train.model import VideoMAEConfig, VideoMAEForVideoClassification

TRAINING = {
    "seed", "max_fault_ratio", "trainer.max_nonfinite_steps", "optim.min_lr", "optim.warmup_epochs",
    "optim.warmup_steps", "optim.weight_decay", "data.view_jitter_frames",
}  # fmt: skip
LOADER = {
    "loader.num_workers", "loader.pin_memory", "loader.storage.cache_gib", "loader.storage.remote.retries",
    "loader.storage.remote.first_delay_sec",
}  # fmt: skip
# Where 0 says something: nothing of it, or off.
ZEROS: dict[str, set[str]] = {
    "pretrain": TRAINING | LOADER | {"watch.baseline_after_steps", "watch.baseline_margin"},
    "finetune": TRAINING
    | LOADER
    | {"frozen_blocks", "head.drop_path_rate", "head.head_dropout", "mix.mixup_alpha", "mix.cutmix_alpha"}
    | {"mix.label_smoothing", "data.per_class_seed", "data.erase_probability"},
    "evaluate": LOADER,
    "probe": LOADER | {"data.per_class_seed"},
    "reconstruct": {"seed", "start"},
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier") / "weights"
    config = VideoMAEConfig(
        image_size=32, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=48, id2label={0: "move_left", 1: "move_right"},
    )  # fmt: skip
    VideoMAEForVideoClassification(config).save_pretrained(folder)
    return folder


def keys_of(values: Any, key: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """List the keys whose values are neither true nor false."""
    if isinstance(values, dict):
        for name, value in values.items():
            yield from keys_of(value, (*key, name))
    elif not isinstance(values, bool):
        yield key


def with_value(values: dict[str, Any], key: tuple[str, ...], value: float) -> dict[str, Any]:
    changed = copy.deepcopy(values)
    place = changed
    for name in key[:-1]:
        place = place[name]
    place[key[-1]] = value
    return changed


def refusal(verb: str, values: dict[str, Any], schema: type[BaseModel]) -> str | None:
    try:
        validate_config(verb, values, schema)
    except ConfigError as error:
        return f"{error.where}: {error.came}"
    return None


@pytest.mark.parametrize(
    ("verb", "schema", "given"),
    [
        ("pretrain", PretrainConfig, ["data.path=x"]),
        ("finetune", FinetuneConfig, ["data.path=x", "model=tiny"]),
        ("evaluate", EvaluateConfig, ["data.path=x", "weights=WEIGHTS"]),
        ("probe", NeighboursConfig, ["data.path=x", "probe=knn", "weights=WEIGHTS"]),
        ("reconstruct", ReconstructConfig, ["video=x", "weights=WEIGHTS"]),
    ],
)
def test_numbers__out_of_range_are_refused_by_name(
    verb: str, schema: type[BaseModel], given: list[str], weights: Path
) -> None:
    given = [word.replace("WEIGHTS", str(weights)) for word in ["run=somewhere", *given]]
    values = resolve_config(verb, compose_config(verb, given))
    accepted: dict[float, set[str]] = {-1: set(), 0: set(), math.inf: set(), math.nan: set()}
    for key in keys_of(values):
        for number, keys in accepted.items():
            said = refusal(verb, with_value(values, key, number), schema)
            if said is None:
                keys.add(".".join(key))
            else:
                assert key[-1] in said, f"{key} is not named: {said}"
    zeros = accepted.pop(0)
    assert set().union(*accepted.values()) == set()
    assert zeros == ZEROS[verb]


@pytest.mark.parametrize("part", ["trainer", "loader", "data"])
def test_numbers__say_what_to_set(part: str) -> None:
    key = {"trainer": "log_every_steps", "loader": "prefetch_batches", "data": "views"}[part]
    overrides = ["data.path=x", "run=somewhere", f"{part}.{key}=0"]
    with pytest.raises(
        ConfigError, match=rf"^{part}\.{key}: 0; expected at least 1\. Set {part}\.{key}=\d+ or so\."
    ):
        validate_config(
            "pretrain", resolve_config("pretrain", compose_config("pretrain", overrides)), PretrainConfig
        )
