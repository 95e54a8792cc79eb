"""The recipes of a sweep's stages: each verb's command line, checked as the verb itself would, without any weights.

A recipe is what makes a run what it is: all values but the machine's, and the fingerprint of the videos it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from videomae_train.config.knn import NeighboursConfig
from videomae_train.config.loader import compose_config, load_config
from videomae_train.config.neighbours import neighbour_recipe
from videomae_train.config.recipe import recipe_values
from videomae_train.config.schema import EvaluateConfig, FinetuneConfig, PretrainConfig
from videomae_train.config.steps import step_plan
from videomae_train.config.sweep import PRETRAIN
from videomae_train.config.videos import finetune_videos, pretrain_videos
from videomae_train.data.index import PackedDataset
from videomae_train.model import VideoMAEConfig

# Of `videomae evaluate`: where and how fast a score is computed, and what is done with it.
_MACHINE_OF_EVALUATE = {"run", "accelerator", "devices", "num_nodes", "threads", "loader", "card", "splits"}


def checked_recipe(verb: str, words: Sequence[str]) -> tuple[dict[str, Any], VideoMAEConfig | None]:
    """Compose and validate a stage's command line.

    Args:
        verb: pretrain, finetune, probe or evaluate.
        words: Behind the verb.

    Returns:
        Its recipe, and the architecture that it trains; None where it only scores.

    Raises:
        VideoMAETrainError: It could not run.
    """
    return _CHECKS[verb](words)


def _check_pretrain(words: Sequence[str]) -> tuple[dict[str, Any], VideoMAEConfig]:
    config = load_config(PRETRAIN, compose_config(PRETRAIN, words), PretrainConfig)
    videos = pretrain_videos(config).selection
    step_plan(config, len(videos))
    recipe = recipe_values(config.given())
    if config.masking.name == "frame":
        # Several ratios hide as many of a clip's few time slots: of eight, 0.9 hides 7, as 0.875 does.
        hidden, _ = config.masking.counts(config.model.grid)
        recipe["masking.ratio"] = hidden / config.model.grid.num_tokens
    return {**recipe, "videos": videos.fingerprint}, config.model


def _check_classifier(verb: str, words: Sequence[str]) -> tuple[dict[str, Any], VideoMAEConfig]:
    config = load_config(verb, compose_config(verb, words), FinetuneConfig)
    videos = finetune_videos(config).selection
    step_plan(config, len(videos))
    return {**recipe_values(config.given()), "videos": videos.fingerprint}, config.source


def _check_probe(words: Sequence[str]) -> tuple[dict[str, Any], VideoMAEConfig | None]:
    composed = compose_config("probe", words)
    if "knn" not in composed:
        return _check_classifier("probe", words)
    return neighbour_recipe(load_config("probe", composed, NeighboursConfig)), None


def _check_evaluate(words: Sequence[str]) -> tuple[dict[str, Any], None]:
    config = load_config("evaluate", compose_config("evaluate", words), EvaluateConfig)
    dataset = PackedDataset.open(config.data.path, config.loader.storage)
    videos = dataset.select(config.data.selection)
    values = config.model_dump(mode="json", exclude=_MACHINE_OF_EVALUATE)
    values["data"].pop("path")
    return {**values, "videos": videos.fingerprint}, None


_CHECKS = {
    PRETRAIN: _check_pretrain,
    "finetune": partial(_check_classifier, "finetune"),
    "probe": _check_probe,
    "evaluate": _check_evaluate,
}
