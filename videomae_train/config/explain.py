"""What a training command would do: every value with its origin, what follows from them, and what it will cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf

from videomae_train.config.loader import compose_config, load_config
from videomae_train.config.provenance import Origin, flatten, trace_values
from videomae_train.config.run_cost import Config, Cost, estimate_cost, token_counts
from videomae_train.config.schema import FinetuneConfig, PretrainConfig
from videomae_train.config.steps import step_plan
from videomae_train.config.videos import finetune_videos, pretrain_videos
from videomae_train.errors import ConfigError
from videomae_train.training.plan import StepPlan

Verb = Literal["pretrain", "finetune", "probe"]

VERBS: tuple[Verb, ...] = ("pretrain", "finetune", "probe")
UNKNOWN_CLASSES = 400
"""Classes that a classifier is counted with where no data set says how many there are: those of Kinetics-400."""

_CLIP_SHAPE = ("data.num_frames", "data.size")


@dataclass(frozen=True)
class Value:
    """One resolved value of a configuration."""

    key: str
    value: Any
    origin: Origin


@dataclass(frozen=True)
class Derived:
    """What follows from the values, in videos, views and optimizer steps.

    Attributes:
        num_videos: Videos of the selection, N; None when neither the set nor --videos says.
        ranks: Ranks of the run.
        micro_batch: Videos of a rank's pass; where it is searched for, the smallest that the search may settle on.
        accumulation: Micro-batches of one rank in one optimizer step.
        views_per_step: Clips of one optimizer step over all ranks.
        peak_lr: Effective learning rate after the warm-up, base_lr x global_batch / 256.
        floor_lr: What the cosine runs towards, scaled likewise.
        warmup_steps: Optimizer steps of the warm-up; None when it is counted in epochs of unknown length.
        total_steps: Optimizer steps of the run; None likewise.
        tokens: Tokens of a clip; None without a model.
        visible: Of these the encoder sees so many; all of them in fine-tuning.
        decoded: The decoder reconstructs so many; 0 in fine-tuning.
        unscored: Visible ones that the decoder takes beside them, without a loss.
    """

    num_videos: int | None
    ranks: int
    micro_batch: int
    accumulation: int
    views_per_step: int
    peak_lr: float
    floor_lr: float
    warmup_steps: int | None
    total_steps: int | None
    tokens: int | None
    visible: int | None
    decoded: int | None
    unscored: int | None


@dataclass(frozen=True)
class Explanation:
    """Everything about a training command.

    Attributes:
        verb: pretrain, finetune or probe.
        config: The configuration, typed; with a stand-in for what `missing` and `cost` say is not known.
        values: Every value, in the configuration's order.
        missing: Keys that the command still has to give.
        derived: What follows.
        cost: None for a fine-tuning that names neither weights nor a model.
    """

    verb: Verb
    config: Config
    values: tuple[Value, ...]
    missing: tuple[str, ...]
    derived: Derived
    cost: Cost | None


def explain(verb: Verb, overrides: Sequence[str], num_videos: int | None = None) -> Explanation:
    """Explain a training command; writes nothing, reads no video.

    Args:
        verb: pretrain, finetune or probe.
        overrides: As behind `videomae VERB`; values that only a run needs, such as data.path, may be missing.
        num_videos: Videos of the selection; None opens data.path where it is given.

    Raises:
        ConfigError: The run would refuse the configuration; or data.path is given and is no packed set.
        CheckpointError: The weights are given and cannot be read.
    """
    mapping = compose_config(verb, overrides)
    if "optim" not in mapping:
        raise ConfigError(
            where="probe",
            came="knn, which trains nothing",
            expected="a command that trains: probe=linear or probe=attentive",
            todo="`videomae probe probe=knn --cfg job` shows its values.",
        )
    knows_model = mapping.get("model") is not None or mapping.get("weights") is not None
    if not knows_model:
        # The rest is validated beside any architecture; nothing shown depends on which.
        mapping = compose_config(verb, [*overrides, "model=base"])
    missing = tuple(sorted(OmegaConf.missing_keys(mapping)))
    for key in missing:
        OmegaConf.update(mapping, key, "???unknown")
    config = _load(verb, mapping)
    videos, classes = _data_facts(config, missing, num_videos)
    plan = _plan(config, videos)
    return Explanation(
        verb,
        config,
        _values(config, verb, overrides, missing, knows_model=knows_model),
        missing if knows_model else (*missing, "weights"),
        _derive(config, plan, videos, knows_model=knows_model),
        estimate_cost(config, plan, len(classes) or UNKNOWN_CLASSES) if knows_model else None,
    )


def infer_verb(overrides: Sequence[str]) -> Verb:
    """Tell the verb from a recipe's name, which begins with it.

    Raises:
        ConfigError: No recipe is named, or its name begins otherwise.
    """
    recipes = [word.removeprefix("experiment=") for word in overrides if word.startswith("experiment=")]
    for verb in VERBS:
        if recipes and recipes[-1].startswith(f"{verb}_"):
            return verb
    raise ConfigError(
        where="videomae explain",
        came=f"experiment={recipes[-1]}" if recipes else "no verb and no recipe",
        expected="a verb, or a recipe whose name begins with one",
        todo=f"Say which command: {' or '.join(f'`videomae explain {verb} ...`' for verb in VERBS)}.",
    )


def _load(verb: Verb, mapping: DictConfig) -> Config:
    return load_config(verb, mapping, PretrainConfig if verb == "pretrain" else FinetuneConfig)


def _data_facts(
    config: Config, missing: Sequence[str], num_videos: int | None
) -> tuple[int | None, tuple[str, ...]]:
    """Count the selected videos and list the classes, as far as they are known."""
    if num_videos is not None or any(key.startswith("data.") for key in missing):
        return num_videos, ()
    if isinstance(config, PretrainConfig):
        return len(pretrain_videos(config).selection), ()
    data = finetune_videos(config)
    return len(data.selection), data.classes


def _plan(config: Config, num_videos: int | None) -> StepPlan:
    # With as many videos as a step takes, epochs are steps; rates and accumulation do not depend on it.
    return step_plan(config, config.optim.global_batch if num_videos is None else num_videos)


def _values(
    config: Config, verb: Verb, overrides: Sequence[str], missing: Sequence[str], *, knows_model: bool
) -> tuple[Value, ...]:
    provenance = trace_values(verb, overrides)
    settings = config.settings()
    if not knows_model:
        settings["model"] = None
    values: list[Value] = []
    for key in flatten(settings):
        if key in _CLIP_SHAPE:
            origin, value = Origin("derived"), _at(settings, key) if knows_model else None
        else:
            origin, value = provenance.of(key), "???" if key in missing else _at(settings, key)
        values.append(Value(key, value, origin))
    return tuple(values)


def _at(settings: Mapping[str, Any], key: str) -> Any:
    value: Any = settings
    for name in key.split("."):
        value = value[name]
    return value


def _derive(config: Config, plan: StepPlan, videos: int | None, *, knows_model: bool) -> Derived:
    budget, schedule = config.optim.budget, plan.schedule
    tokens, visible, decoded, unscored = token_counts(config) if knows_model else (None,) * 4
    return Derived(
        num_videos=videos,
        ranks=plan.world_size,
        micro_batch=plan.micro_batch,
        accumulation=plan.accumulation,
        views_per_step=plan.global_batch * config.data.views,
        peak_lr=schedule.peak,
        floor_lr=schedule.floor,
        warmup_steps=None if videos is None and budget.warmup_steps is None else schedule.warmup_steps,
        total_steps=None if videos is None and budget.steps is None else plan.total_steps,
        tokens=tokens,
        visible=visible,
        decoded=decoded,
        unscored=unscored,
    )
