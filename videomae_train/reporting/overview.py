"""The parts of a page that show several points beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import TypeGuard

from videomae_train.pictures import (
    CurvePanel,
    Line,
    PlacedScore,
    Priced,
    curve_panels,
    scores_by_cost,
    scores_by_ratio,
)
from videomae_train.reporting.comparing import (
    Family,
    brief,
    differing_keys,
    families_from_scratch,
    families_of,
    is_masked,
    labels_of,
    masking_of,
    scores_of_seeds,
    settings_of,
)
from videomae_train.reporting.facts import Point, TrainingFacts
from videomae_train.reporting.parts import Cell, Figure, Gallery, Part, Section, Table
from videomae_train.reporting.wording import UNKNOWN, hours_text, interval_text, number, tone_of

_COLUMNS = (
    "Run", "State", "Top\u20111", "95 % interval", "On", "Loss, pretraining", "Loss, classifier", "Steps", "Hours",
    "Views/s", "GiB", "Faults", "Alarms",
)  # fmt: skip


def overview_sections(points: Sequence[Point], figures: Path, loops: Mapping[str, Path]) -> list[Section]:
    """Show several points beside each other.

    Args:
        points: At least two.
        figures: Folder that PNG files go to.
        loops: Point -> a moving reconstruction by its pretrained model.
    """
    return [
        Section("Score against masking ratio", tuple(_ratio_parts(points, figures))),
        Section("Runs", (runs_table(points),)),
        Section("Cost against score", tuple(_cost_parts(points, figures))),
        Section("Loss curves", tuple(_loss_parts(points, figures))),
        Section("Reconstructions", tuple(_reconstructions(points, loops))),
        Section("What differs", tuple(_differences(points))),
    ]


def runs_table(points: Sequence[Point]) -> Table:
    """List all points with state, score and cost; a click on a heading sorts."""
    caption = (
        "Intervals are over the scored videos, or their recordings, of one run. Hours are of training steps, over all"
        " stages and attempts;"
        " views/s and memory are of the pretraining where there is one. A click on a heading sorts."
    )
    return Table(_COLUMNS, tuple(_run_row(point) for point in points), caption, sorts=True)


def _run_row(point: Point) -> tuple[str | Cell, ...]:
    score, first = point.evaluation, next(iter(point.trainings), None)
    faults = sum(len(stage.faults) for stage in point.trainings) + (len(score.faults) if score else 0)
    alarms = sum(len(stage.alarms) for stage in point.trainings)
    steps = sum(stage.steps for stage in point.trainings)
    return (
        point.name,
        _state_cell(point),
        number(score.top1 if score else None),
        Cell(interval_text(score.interval if score else None), score.interval[0] if score else None, is_number=True),
        Cell(score.standing if score else UNKNOWN, score.num_scored if score else None, is_number=True),
        number(point.pretraining.loss if point.pretraining else None),
        number(point.classifier.loss if point.classifier else None),
        Cell(f"{steps}", steps, is_number=True),
        Cell(hours_text(hours := hours_of(point)), hours, is_number=True),
        number(first.views_per_sec if first else None, 1),
        number(first.memory_gib if first else None, 2),
        Cell(f"{faults}", faults, "warning" if faults else "", is_number=True),
        Cell(f"{alarms}", alarms, "warning" if alarms else "", is_number=True),
    )  # fmt: skip


def _state_cell(point: Point) -> Cell:
    verb, state = point.state
    words = f"{verb} {state}".strip()
    return Cell(words, words, tone_of(state))


def hours_of(point: Point) -> float | None:
    """Add up the hours of a point's stages; None where one of them is not known."""
    hours = [stage.hours for stage in point.trainings]
    known = [each for each in hours if each is not None]
    return sum(known) if known and len(known) == len(hours) else None


def _ratio_parts(points: Sequence[Point], figures: Path) -> list[Part]:
    families = families_of(points)
    lines = {family.name: family.by_ratio() for family in families}
    if not lines:
        return []
    path = figures / "score-by-ratio.png"
    scores_by_ratio(path, lines, {**_scratch(points), **_floor(points)})
    caption = (
        "Filled marks: mean over seeds with a 95 % t-interval of that mean. Hollow marks: a single run with a bootstrap"
        " interval over its test videos, or their recordings, which says nothing about other seeds; dots join what is"
        " not sure. Averaged are only runs that differ in nothing but their seed and the machine."
    )
    words = "; ".join(f"{name}: {_line_in_words(scores)}" for name, scores in lines.items())
    return [Figure("Score against masking ratio", caption, path, words), _ratio_table(families)]


def _line_in_words(scores: Sequence[PlacedScore]) -> str:
    return ", ".join(f"{score.score:.3f} at {score.place:g}" for score in scores)


def _ratio_table(families: Sequence[Family]) -> Table:
    rows = tuple(
        (
            family.name,
            Cell(f"{score.place:g}", score.place, is_number=True),
            number(score.score),
            Cell(interval_text(score.interval), None if score.interval is None else score.interval[0], is_number=True),
            Cell(f"{score.num_seeds}", score.num_seeds, is_number=True),
            "over seeds" if score.num_seeds > 1 else "over test videos",
        )
        for family in families
        for score in family.by_ratio()
    )  # fmt: skip
    columns = ("Mask", "Ratio", "Top\u20111", "95 % interval", "Seeds", "Interval is")
    return Table(columns, rows, "The figure's numbers.", sorts=True)


def _scratch(points: Sequence[Point]) -> dict[str, float]:
    """Give the mean score from scratch over seeds, for each thing that it is one of."""
    scores = {family.name: scores_of_seeds(family.points) for family in families_from_scratch(points)}
    return {f"{name} (n = {len(of_seeds)})": mean(of_seeds) for name, of_seeds in scores.items()}


def _floor(points: Sequence[Point]) -> dict[str, float]:
    """Give what always naming the commonest class scores, where all scores have it in common."""
    counts = {
        tuple(row.num_videos for row in point.evaluation.classes)
        for point in points
        if point.evaluation is not None
    }
    if len(counts) != 1 or len(of_classes := counts.pop()) < 2 or not sum(of_classes):
        return {}
    return {"always the commonest class": max(of_classes) / sum(of_classes)}


def _cost_parts(points: Sequence[Point], figures: Path) -> list[Part]:
    priced = [
        Priced(label, point.evaluation.top1, point.evaluation.interval, _costs(point))
        for point, label in zip(points, labels_of(points), strict=True)
        if point.evaluation is not None and point.trainings
    ]
    if len(priced) < 2:
        return []
    path = figures / "score-by-cost.png"
    scores_by_cost(path, priced, ("hours of training", "views/s", "peak memory (GiB)"))
    caption = (
        "Each mark is a run, its interval over test videos or their recordings. Up is better; costs are of the machine"
        " that ran it."
    )
    return [Figure("Cost against score", caption, path)]


def _costs(point: Point) -> tuple[float | None, ...]:
    first = point.trainings[0]
    return (hours_of(point), first.views_per_sec, first.memory_gib)


def _loss_parts(points: Sequence[Point], figures: Path) -> list[Part]:
    parts: list[Part] = []
    stages: dict[str, list[tuple[str, TrainingFacts]]] = {}
    for point, label in zip(points, labels_of(points), strict=True):
        for stage in point.trainings:
            if "train/loss" in stage.curves:
                stages.setdefault(stage.verb, []).append((label, stage))
    for verb, runs in stages.items():
        # A run that points share is drawn once.
        unique = {stage.folder.resolve(): (name, stage) for name, stage in runs}
        lines = [Line(name, *stage.curves["train/loss"]) for name, stage in unique.values()]
        path = figures / f"loss-{verb}.png"
        curve_panels(path, [CurvePanel("", "training loss", lines)])
        caption = (
            f"{len(lines)} runs; those of one name differ in seed, machine or what stands under What differs."
        )
        if len({name for name, _ in unique.values()}) > 1 and verb == "pretrain":
            caption += " Other masks are other tasks: across them a lower loss is not a better model."
        parts.append(Figure(f"Training loss, {verb}", caption, path))
    return parts


def _reconstructions(points: Sequence[Point], loops: Mapping[str, Path]) -> list[Part]:
    """Show one loop for each mask, its first seed, ordered by kind and ratio."""
    shown: dict[tuple[str, float], Figure] = {}
    masked = [point for point in points if is_masked(point) and point.name in loops]
    for point in sorted(masked, key=masking_of):
        kind, ratio = masking_of(point)
        title = f"{100 * ratio:g} % hidden, {kind}"
        shown.setdefault((kind, ratio), Figure(title, point.name, loops[point.name]))
    if not shown:
        return []
    caption = (
        "Input, what the model saw, and what it made of it: hidden patches come from the prediction and visible"
        " neighbours only. One run for each mask."
    )
    return [Gallery(tuple(shown.values()), caption, width=420)]


def _differences(points: Sequence[Point]) -> list[Part]:
    keys = differing_keys(points)
    if not keys:
        return []
    values = [settings_of(point) for point in points]
    numeric = {key for key in keys if any(_is_number(each.get(key)) for each in values)}
    rows = tuple(
        (point.name, *(_value_cell(each, key, flush_right=key in numeric) for key in keys))
        for point, each in zip(points, values, strict=True)
    )
    caption = "Keys whose values differ between the runs; all others are the same."
    return [Table(("Run", *keys), rows, caption, sorts=True)]


def _value_cell(values: Mapping[str, object], key: str, *, flush_right: bool) -> Cell:
    if key not in values:
        return Cell(UNKNOWN, None, is_number=flush_right)
    value = values[key]
    return Cell(brief(value), value if _is_number(value) else brief(value), is_number=flush_right)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
