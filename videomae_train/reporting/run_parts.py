"""The parts of a page that show one training run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from videomae_train.pictures import CurvePanel, Line, curve_panels
from videomae_train.reporting.facts import TrainingFacts
from videomae_train.reporting.parts import Figure, Gallery, Part, Remark, Remarks, Setting, Settings
from videomae_train.reporting.wording import (
    UNKNOWN,
    baseline_name,
    hours_text,
    loss_beside_baselines,
    progress_text,
)
from videomae_train.training.metrics import Curve

_NAMES_SHOWN = 50
_MOST_LOOPS = 4
# Panels of training, where a run reported the metric: title, unit, metric.
_TRAINING = (
    ("loss", "loss", "train/loss"),
    ("learning rate", "learning rate", "train/lr"),
    ("gradient norm", "norm before clipping", "train/grad_norm"),
)
_WATCHING = (
    ("online kNN", "top-1 accuracy", "probe/knn_top1"),
    ("online linear probe", "top-1 accuracy", "probe/linear_top1"),
    ("effective rank of features", "directions in use", "probe/effective_rank"),
    ("validation", "top-1 accuracy", "val/top1"),
    ("validation loss", "loss", "val/loss"),
)


def training_parts(facts: TrainingFacts, figures: Path, stem: str, *, has_loops: bool) -> list[Part]:
    """Show a run: what went wrong, its figures in words, its curves, its reconstructions.

    Args:
        facts: Of the run.
        figures: Folder that PNG files go to.
        stem: What their names begin with.
        has_loops: Whether its moving reconstructions are shown; they are large.
    """
    remarks = training_remarks(facts)
    return [
        *([Remarks(tuple(remarks))] if remarks else []),
        Settings(tuple(Setting(name, value) for name, value in _facts_in_words(facts).items())),
        *_curves(facts, figures / f"{stem}.png"),
        *_probes(facts, figures / f"{stem}-watch.png"),
        *(_loops(facts) if has_loops else []),
    ]


def training_remarks(facts: TrainingFacts, name: str = "") -> list[Remark]:
    """Say what a reader should know of a run: its failure, alarms, unreadable videos, what is missing.

    Args:
        facts: Of the run.
        name: Begins each remark, where several runs are told of.
    """
    lead = f"{name}: " if name else ""
    remarks: list[Remark] = []
    if facts.state.name in ("failed", "silent", "preempted"):
        kind = "error" if facts.state.name == "failed" else "warning"
        first, *more = facts.state.words.splitlines() or [""]
        todo = (
            f"`videomae {facts.verb} {shlex.quote(f'run={facts.folder}')}` goes on from its newest checkpoint."
            * facts.has_checkpoint
        )
        what = "failed: " if facts.state.name == "failed" else ""
        remarks.append(Remark(kind, f"{lead}{what}{first}", todo, tuple(more)))
    for alarm in facts.alarms:
        remarks.append(Remark("warning", f"{lead}alarm at step {alarm.step}: {alarm.words}.", alarm.todo))
    if facts.faults:
        names = [f"{fault.key}: {fault.cause} ({fault.detail})" for fault in facts.faults]
        more = [f"… and {len(names) - _NAMES_SHOWN} more"] * (len(names) > _NAMES_SHOWN)
        text = f"{lead}unreadable videos, replaced by others: {len(names)}, met {facts.num_faults} times."
        remarks.append(Remark("warning", text, "", (*names[:_NAMES_SHOWN], *more)))
    remarks += [Remark("note", f"{lead}{problem}.") for problem in facts.problems]
    return remarks


def _facts_in_words(facts: TrainingFacts) -> dict[str, str]:
    changes = "; ".join(
        f"after step {change.get('after_step')}: {change.get('key')} {change.get('was')} → {change.get('now')}"
        for change in facts.changes
    )
    speed, memory = facts.views_per_sec, facts.memory_gib
    rows = {
        "folder": str(facts.folder),
        "verb": facts.verb,
        "state": facts.state.words,
        "steps": progress_text(facts),
        "attempts": f"{facts.num_attempts}",
        "hours of training": hours_text(facts.hours),
        "views per second": UNKNOWN if speed is None else f"{speed:.1f} (median of its reports)",
        "peak memory": UNKNOWN if memory is None else f"{memory:.2f} GiB",
        "loss": loss_beside_baselines(facts),
        "changed on resuming": changes,
        **_recipe_in_words(facts.config),
    }
    return {name: text for name, text in rows.items() if text}


def _recipe_in_words(config: Mapping[str, object]) -> dict[str, str]:
    """Say what was trained on what, one row for each part of the recipe."""
    parts = ("weights", "init", "model", "masking", "data", "optim", "head", "mix", "seed")
    return {part: _compact(config[part]) for part in parts if config.get(part) is not None}


def _compact(value: object) -> str:
    """Write a part of a configuration on one line, without what is null."""
    if not isinstance(value, dict):
        return value if isinstance(value, str) else json.dumps(value)
    return ", ".join(
        f"{name} {{{_compact(each)}}}" if isinstance(each, dict) else f"{name} {_compact(each)}"
        for name, each in value.items()
        if each is not None and each != {}
    )


def _curves(facts: TrainingFacts, path: Path) -> list[Part]:
    levels = {baseline_name(name): level for name, level in facts.baselines.items()}
    panels = _panels(facts.curves, _TRAINING, levels)
    if not panels:
        return []
    curve_panels(path, panels)
    attempts = f" {facts.num_attempts} attempts, joined." if facts.num_attempts > 1 else ""
    caption = f"One value for each report.{attempts}" + (
        " Dashed: losses that need no model." if levels else ""
    )
    return [Figure(f"Curves of {facts.verb}", caption, path, f"loss: {loss_beside_baselines(facts)}")]


def _probes(facts: TrainingFacts, path: Path) -> list[Part]:
    panels = _panels(facts.curves, _WATCHING, {})
    if not panels:
        return []
    curve_panels(path, panels)
    last = ", ".join(f"{panel.title} {float(_ys(panel)[-1]):.3g}" for panel in panels)
    return [
        Figure("While it went on", "What was measured beside the training.", path, f"last values: {last}")
    ]


def _panels(
    curves: Mapping[str, Curve], wanted: Sequence[tuple[str, str, str]], loss_levels: Mapping[str, float]
) -> list[CurvePanel]:
    return [
        CurvePanel(title, unit, [Line("", *curves[metric])], loss_levels if metric == "train/loss" else {})
        for title, unit, metric in wanted
        if metric in curves
    ]


def _ys(panel: CurvePanel) -> Sequence[float]:
    return panel.lines[0].y  # type: ignore[return-value]  # pyright: ignore


def _loops(facts: TrainingFacts) -> list[Part]:
    """Show the first, the last and some reconstructions between, as they move."""
    steps = list(facts.loops)
    if not steps:
        return []
    count = min(_MOST_LOOPS, len(steps))
    shown = dict.fromkeys(
        steps[round(place * (len(steps) - 1) / max(1, count - 1))] for place in range(count)
    )
    pictures = tuple(Figure(f"step {step}", "", facts.loops[step]) for step in shown)
    caption = (
        "One video of the set while the model learned: the input, what the model saw, what it made of it."
    )
    return [Gallery(pictures, caption, width=420)]
