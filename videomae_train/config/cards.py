"""Model cards: what was run, and nothing that was not."""

from __future__ import annotations

from importlib.metadata import version
from typing import NamedTuple

import yaml

from videomae_train.config.clips import clips_of_training
from videomae_train.config.schema import FinetuneConfig, PretrainConfig
from videomae_train.model.cards import Videos, WeightsFacts, new_card
from videomae_train.training.plan import StepPlan
from videomae_train.training.validating import Best


def pretraining_card(config: PretrainConfig, plan: StepPlan, *, num_videos: int, fingerprint: str) -> str:
    """Write the card of a pretrained model, Markdown."""
    rows = {
        "started from": f"`{config.init}`" if config.init else "random weights",
        "task": f"masked reconstruction, {config.masking.summary(config.model.grid)}",
        "decoder": f"{config.model.decoder_kind}, {'normalised' if config.model.norm_pix_loss else 'raw'} pixels",
        "sets": "; ".join(
            f"{name} {member.selection}, stride {member.stride}".strip()
            for name, member in sorted(config.data.members.items())
        ),
        **_common_rows(config, plan, num_videos, fingerprint),
    }
    return new_card(
        "VideoMAE, pretrained",
        rows=rows,
        settings=_listing(config),
        name=config.run.name,
        started_from=None if config.init is None else str(config.init),
        facts=None,
    )


def classifier_card(
    config: FinetuneConfig, plan: StepPlan, *, num_videos: int, fingerprint: str, best: BestOf | None = None
) -> str:
    """Write the card of a classifier, Markdown, without scores, which `videomae evaluate` adds.

    Args:
        config: The run's.
        plan: The run's.
        num_videos: It trained on.
        fingerprint: Of these.
        best: Why the weights are not the last step's; None if they are.
    """
    data = config.data
    facts = WeightsFacts(
        step=plan.total_steps if best is None else best.score.step,
        total_steps=plan.total_steps,
        ema_decay=config.optim.ema_decay,
        trained_on=Videos(data.selection, fingerprint, num_videos, data.per_class, data.per_class_seed),
        chosen_on=None if best is None else best.videos,
        chosen_by=None if best is None else best.views,
        chosen_top1=None if best is None else best.score.top1,
        clips=clips_of_training(data),
    )
    few = f", {data.per_class} of each class (seed {data.per_class_seed})" if data.per_class else ""
    rows = {
        "task": "action classification",
        **_probe_rows(config),
        "started from": f"`{config.weights}`" if config.weights else "random weights",
        "trained on": f"{data.selection}{few}",
        **_common_rows(config, plan, num_videos, fingerprint),
        "optimizer steps": f"{facts.step}{'' if best is None else f', on a schedule of {plan.total_steps},'}"
        f" of {_per_step(config, plan)}",
        "weights": facts.words,
    }
    return new_card(
        "VideoMAE, classifier",
        rows=rows,
        settings=_listing(config),
        name=config.run.name,
        started_from=None if config.weights is None else str(config.weights),
        facts=facts,
    )


class BestOf(NamedTuple):
    """The highest of a run's validation scores: of which videos, by which views, in words."""

    score: Best
    videos: Videos
    views: str


def _probe_rows(config: FinetuneConfig) -> dict[str, str]:
    """Say what did not train, and what kind of head did."""
    frozen, kind = config.frozen_blocks, config.head.head_kind
    parts = "the whole encoder" if frozen == "all" else f"the embedding and the first {frozen} blocks"
    heads = {
        "linear": {},
        "batch_norm": {"head": "linear; a batch norm without weights is folded into it"},
        "attentive": {"head": "one cross-attention block with a learned query over all tokens, then linear"},
    }
    return {**({"frozen": parts} if frozen else {}), **heads[kind]}


def _common_rows(
    config: PretrainConfig | FinetuneConfig, plan: StepPlan, num_videos: int, fingerprint: str
) -> dict[str, str]:
    return {
        "videos": f"{num_videos}, fingerprint `{fingerprint}`",
        "optimizer steps": f"{plan.total_steps} of {_per_step(config, plan)}",
        "peak learning rate": f"{plan.schedule.peak:.3g}, {plan.schedule.warmup_steps} steps of warm-up",
        "weights": _which_weights(config.optim.ema_decay, plan),
        "seed": str(config.seed),
        "made with": f"videomae-train {version('videomae-train')}, torch {version('torch')}",
    }


def _per_step(config: PretrainConfig | FinetuneConfig, plan: StepPlan) -> str:
    return f"{plan.global_batch} videos x {config.data.views} view(s)"


def _which_weights(ema_decay: float | None, plan: StepPlan) -> str:
    last = f"step-{plan.total_steps:08d}.ckpt"
    if ema_decay is None:
        return "the last step's"
    return f"exponential moving average over optimizer steps, decay {ema_decay}; the last step's own: {last} of the run"


def _listing(config: PretrainConfig | FinetuneConfig) -> str:
    return yaml.safe_dump(config.settings(), sort_keys=False)
