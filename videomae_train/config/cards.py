"""Model cards: what was run, and nothing that was not."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

import yaml

from videomae_train.config.schema import FinetuneConfig, PretrainConfig
from videomae_train.training.plan import StepPlan

_HEAD = """---
library_name: transformers
tags: [video, videomae]
---
"""


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
    return _card("VideoMAE, pretrained", rows, config.settings())


def classifier_card(config: FinetuneConfig, plan: StepPlan, *, num_videos: int, fingerprint: str) -> str:
    """Write the card of a classifier, Markdown; scores come from `videomae evaluate` and stand in its folder."""
    rows = {
        "task": "action classification",
        **_probe_rows(config),
        "started from": f"`{config.weights}`" if config.weights else "random weights",
        "selection": config.data.selection,
        **_common_rows(config, plan, num_videos, fingerprint),
    }
    return _card("VideoMAE, classifier", rows, config.settings())


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
        "optimizer steps": f"{plan.total_steps} of {plan.global_batch} videos x {config.data.views} view(s)",
        "peak learning rate": f"{plan.schedule.peak:.3g}, {plan.schedule.warmup_steps} steps of warm-up",
        "weights": _which_weights(config.optim.ema_decay, plan),
        "seed": str(config.seed),
        "made with": f"videomae-train {version('videomae-train')}, torch {version('torch')}",
    }


def _which_weights(ema_decay: float | None, plan: StepPlan) -> str:
    last = f"step-{plan.total_steps:08d}.ckpt"
    if ema_decay is None:
        return "the last step's"
    return f"exponential moving average over optimizer steps, decay {ema_decay}; the last step's own: {last} of the run"


def _card(title: str, rows: Mapping[str, str], settings: Mapping[str, object]) -> str:
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    listing = yaml.safe_dump(dict(settings), sort_keys=False)
    return f"{_HEAD}\n# {title}\n\n| | |\n|---|---|\n{table}\n\n## Configuration\n\n```yaml\n{listing}```\n"
