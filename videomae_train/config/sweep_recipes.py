"""The recipes of a sweep's stages: each verb's command line, checked as the verb itself would, without any weights.

A recipe is what makes a run what it is: all values but the machine's, and the fingerprint of the videos it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from videomae_train.config.clips import clips_of_training, scoring_words
from videomae_train.config.knn import NeighboursConfig
from videomae_train.config.loader import compose_config, load_config
from videomae_train.config.neighbours import neighbour_recipe
from videomae_train.config.recipe import recipe_values
from videomae_train.config.schema import EvaluateConfig, FinetuneConfig, PretrainConfig
from videomae_train.config.scores import check_classes, keys_of, score_recipe
from videomae_train.config.steps import check_pairs, step_plan
from videomae_train.config.sweep_points import PRETRAIN
from videomae_train.config.videos import check_apart, finetune_videos, pretrain_videos
from videomae_train.data.index import PackedDataset
from videomae_train.evaluation.recordings import recordings_of
from videomae_train.model import VideoMAEConfig, read_config

# Of `videomae evaluate`: where and how fast a score is computed, and what is done with it.
_MACHINE_OF_EVALUATE = {
    "run",
    "accelerator",
    "devices",
    "num_nodes",
    "threads",
    "precision",
    "loader",
    "card",
    "splits",
}


class Checked(NamedTuple):
    """A stage that can run.

    Attributes:
        recipe: What makes it what it is.
        model: What it trains, a classifier with its classes; None where it only scores.
        ranks: Nodes, and devices on each.
        words: Further ones of its command line, which several ways to ask for the same have in common.
        seen: Words that let a score take clips as this stage was trained on.
    """

    recipe: dict[str, Any]
    model: VideoMAEConfig | None
    ranks: tuple[int, int]
    words: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()


def check_stage(verb: str, words: Sequence[str]) -> Checked:
    """Compose and validate a stage's command line, with every check that does not take the weights themselves.

    Args:
        verb: pretrain, finetune, probe or evaluate.
        words: Behind the verb.

    Raises:
        VideoMAETrainError: It could not run.
    """
    return _CHECKS[verb](words)


def _check_pretrain(words: Sequence[str]) -> Checked:
    config = load_config(PRETRAIN, compose_config(PRETRAIN, words), PretrainConfig)
    videos = pretrain_videos(config).selection
    step_plan(config, len(videos))
    recipe = {**recipe_values(config.given()), "videos": videos.fingerprint}
    ratio = _ratio_of_slots(config)
    ranks = (config.trainer.num_nodes, config.trainer.devices)
    if ratio is None:
        return Checked(recipe, config.model, ranks)
    return Checked({**recipe, "masking.ratio": ratio}, config.model, ranks, (f"masking.ratio={ratio}",))


def _ratio_of_slots(config: PretrainConfig) -> float | None:
    """Give the one ratio for all that hide as many of a clip's few time slots: of eight, 0.9 hides 7, as 0.875 does."""
    if config.masking.name != "frame":
        return None
    grid = config.model.grid
    hidden, _ = config.masking.counts(grid)
    ratio = hidden / grid.num_tokens
    is_kept = int(ratio * grid.t) * grid.h * grid.w == hidden  # 1/49 of 49 slots would be none
    return ratio if is_kept else None


def _check_classifier(verb: str, words: Sequence[str]) -> Checked:
    config = load_config(verb, compose_config(verb, words), FinetuneConfig)
    videos = finetune_videos(config)
    step_plan(config, len(videos.selection))
    check_pairs(config)
    if videos.val_selection is not None:
        check_apart(config, videos.selection, videos.val_selection)
    model = config.architecture(dict(enumerate(videos.classes)))
    recipe = {**recipe_values(config.given()), "videos": videos.selection.fingerprint}
    ranks = (config.trainer.num_nodes, config.trainer.devices)
    return Checked(recipe, model, ranks, seen=scoring_words(clips_of_training(config.data)))


def _check_probe(words: Sequence[str]) -> Checked:
    composed = compose_config("probe", words)
    if "knn" not in composed:
        return _check_classifier("probe", words)
    config = load_config("probe", composed, NeighboursConfig)
    return Checked(neighbour_recipe(config), None, (config.num_nodes, config.devices))


def _check_evaluate(words: Sequence[str]) -> Checked:
    config = load_config("evaluate", compose_config("evaluate", words), EvaluateConfig)
    dataset = PackedDataset.open(config.data.path, config.loader.storage)
    check_classes(read_config(config.weights), dataset)
    videos = dataset.select(config.data.selection)
    recordings_of(keys_of(videos), config.data.recordings)
    values = score_recipe(config, _MACHINE_OF_EVALUATE)
    return Checked({**values, "videos": videos.fingerprint}, None, (config.num_nodes, config.devices))


_CHECKS: dict[str, Callable[[Sequence[str]], Checked]] = {
    PRETRAIN: _check_pretrain,
    "finetune": partial(_check_classifier, "finetune"),
    "probe": _check_probe,
    "evaluate": _check_evaluate,
}
