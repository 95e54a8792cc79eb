"""In what points differ, and what may therefore be averaged over."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from videomae_train.evaluation.intervals import Interval
from videomae_train.evaluation.seeds import seed_interval
from videomae_train.pictures import PlacedScore
from videomae_train.reporting.facts import EvaluationFacts, Point

Values = Mapping[str, Any]

# Where a run computes and records, which no score is expected to follow from.
_NOT_COMPARED = ("run", "resume", "allow_changes", "logger")
_MACHINE = ("trainer", "loader", "watch", "max_fault_ratio")
_SEEDS = ("seed", "data.per_class_seed")
_PLACE_OF_VIDEOS = re.compile(r"data\.(sets\..+\.)?path")  # of videos that are known by their fingerprint
_SCORE = "evaluate: "
_IN_VIEWS = ("num_clips", "num_crops")  # view options that `views` says in short
_MASK_KIND, _RATIO = "masking.name", "masking.ratio"


def settings_of(point: Point) -> dict[str, Any]:
    """Give a point's configuration by dotted keys; those of later stages begin with the stage's name."""
    values: dict[str, Any] = {}
    for stage in point.trainings:
        prefix = "" if stage is point.pretraining else f"{stage.verb}: "
        if stage.videos is not None:
            values[f"{prefix}videos"] = stage.videos
        for key, value in _leaves(stage.config):
            is_known = (key == "weights" and prefix and point.pretraining) or (
                stage.videos is not None and _PLACE_OF_VIDEOS.fullmatch(key)
            )
            if not is_known and not _falls_under(key, _NOT_COMPARED):
                values[f"{prefix}{key}"] = value
    if point.evaluation is not None:
        values |= _settings_of_score(point.evaluation)
    return values


def _settings_of_score(score: EvaluationFacts) -> dict[str, Any]:
    """Give what a score stands on beside the training; what its record does not say is left out."""
    known = {"videos": score.fingerprint, "weights_kind": score.weights_kind}
    values = {
        "selection": score.selection,
        "views": score.views,
        **{key: value for key, value in known.items() if value is not None},
        **{key: value for key, value in score.view_options.items() if key not in _IN_VIEWS},
    }
    return {
        **{f"{_SCORE}{key}": value for key, value in values.items()},
        **{f"probe: {key}": value for key, value in score.probe.items()},
    }


def differing_keys(points: Sequence[Point]) -> tuple[str, ...]:
    """List the keys in which points differ, in the order in which configurations have them.

    A point whose stage is missing, or left no record, differs in nothing that this stage decides. Nor does a score in
    what its record does not say: older ones say less, and kNN's say nothing of weights.
    """
    all_values = [settings_of(point) for point in points]
    stages = [{_stage(key) for key in values} for values in all_values]
    keys = dict.fromkeys(key for values in all_values for key in values)
    return tuple(
        key
        for key in keys
        if len(
            {
                repr(values.get(key))
                for values, known in zip(all_values, stages, strict=True)
                if key in values or (_stage(key) in known and not key.startswith(_SCORE))
            }
        )
        > 1
    )


@dataclass(frozen=True)
class Family:
    """Points that differ in nothing but the masking ratio, seeds, and the machine.

    Attributes:
        name: The mask's kind, and whatever else sets it apart from the other families.
        points: Those with a score.
    """

    name: str
    points: tuple[Point, ...]

    def by_ratio(self) -> tuple[PlacedScore, ...]:
        """Average the scores of each masking ratio over its seeds, ratios ascending."""
        groups: dict[float, list[Point]] = {}
        for point in self.points:
            groups.setdefault(masking_of(point)[1], []).append(point)
        return tuple(_averaged(ratio, _asked_alike(groups[ratio])) for ratio in sorted(groups))


def families_of(points: Sequence[Point]) -> tuple[Family, ...]:
    """Put scored points of masked pretraining into families, in the order of their names."""
    masked = [point for point in points if point.evaluation is not None and is_masked(point)]
    return _families(masked, lambda point: masking_of(point)[0])


def families_from_scratch(points: Sequence[Point]) -> tuple[Family, ...]:
    """Put scored points without pretraining into families: few labels are another thing than all."""
    return _families(from_scratch(points), lambda point: "from scratch")


def _families(points: Sequence[Point], kind: Callable[[Point], str]) -> tuple[Family, ...]:
    """Tell points apart by their kind and by what differs among them, and not by what others have."""
    groups: dict[str, list[Point]] = {}
    for point, name in zip(points, _named_apart(points, kind), strict=True):
        groups.setdefault(name, []).append(point)
    return tuple(Family(name, tuple(groups[name])) for name in sorted(groups))


def labels_of(points: Sequence[Point]) -> tuple[str, ...]:
    """Name in figures what each point is of, its seed left out.

    That is its mask, or that it has no pretraining, and in what it differs from others of which the same is true;
    the name of its folder where neither is known.
    """
    labels = {id(point): point.name for point in points}
    fresh = from_scratch(points)
    masked = [point for point in points if is_masked(point)]
    for alike, kind in ((fresh, lambda point: "from scratch"), (masked, _mask_label)):
        labels |= {id(point): name for point, name in zip(alike, _named_apart(alike, kind), strict=True)}
    return tuple(labels[id(point)] for point in points)


def _mask_label(point: Point) -> str:
    kind, ratio = masking_of(point)
    return f"{kind} {ratio:g}"


def _named_apart(points: Sequence[Point], kind: Callable[[Point], str]) -> list[str]:
    apart = [key for key in differing_keys(points) if not _is_averaged(key) and key != _MASK_KIND]
    all_values = [settings_of(point) for point in points]
    return [
        ", ".join([kind(point), *(f"{key}={brief(values.get(key))}" for key in apart)])
        for point, values in zip(points, all_values, strict=True)
    ]


def from_scratch(points: Sequence[Point]) -> tuple[Point, ...]:
    """Give the scored points whose classifier started from random weights."""
    return tuple(
        point
        for point in points
        if point.evaluation is not None
        and point.classifier is not None
        and "weights" in point.classifier.config
        and point.classifier.config["weights"] is None
    )


def is_masked(point: Point) -> bool:
    """Whether a point's pretraining says how it masked."""
    values = settings_of(point)
    return isinstance(values.get(_MASK_KIND), str) and isinstance(values.get(_RATIO), int | float)


def masking_of(point: Point) -> tuple[str, float]:
    """Return kind and ratio of a masked point's masks.

    Frame masks hide whole time slots, of which there are few: of eight, a ratio of 0.9 hides 7, and so does 0.975.
    Theirs is the share that was hidden; of the others it is the ratio as asked for.
    """
    values = settings_of(point)
    kind, ratio = str(values[_MASK_KIND]), float(values[_RATIO])
    frames, slot = (values.get(f"model.{name}") for name in ("num_frames", "tubelet_size"))
    if kind != "frame" or not isinstance(frames, int) or not isinstance(slot, int):
        return kind, ratio
    slots = frames // slot
    return kind, int(ratio * slots) / slots


def asked_ratio_of(point: Point) -> float:
    """Return the ratio that a masked point's pretraining was asked for."""
    return float(settings_of(point)[_RATIO])


def brief(value: Any) -> str:
    """Write a value of a configuration as the command line takes it, paths by their last part.

    >>> brief(None), brief(True), brief([0.9, 0.95]), brief("/data/ucf101/shards")
    ('null', 'true', '[0.9,0.95]', '…/shards')
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(brief, value))}]"
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    return f"…/{text.rstrip('/').rpartition('/')[2]}" if text.startswith("/") else text


def _asked_alike(points: Sequence[Point]) -> list[Point]:
    """Keep those of the lowest ratio: frame masks of higher ones that hide as much are the same runs over, no seeds."""
    ratios = [float(settings_of(point)[_RATIO]) for point in points]
    return [point for point, ratio in zip(points, ratios, strict=True) if ratio == min(ratios)]


def _averaged(ratio: float, points: Sequence[Point]) -> PlacedScore:
    scores = scores_of_seeds(points)
    interval = within_reach(seed_interval(scores))
    if len(points) == 1 and points[0].evaluation is not None:
        interval = points[0].evaluation.interval
    return PlacedScore(ratio, mean(scores), interval, len(scores))


def scores_of_seeds(points: Sequence[Point]) -> list[float]:
    """Give one score for each seed: the mean of the scored points that have it in common.

    It is the seed of the pretraining where several pretrainings are behind the points: three fine-tunings of one are
    no three pretrainings. Else, and from scratch, it is all the seeds of a point. So a run that was made twice, on
    another machine, counts once.
    """
    for seeds_of in (_first_seed, _all_seeds):
        groups: dict[object, list[float]] = {}
        for point in points:
            if point.evaluation is not None:
                groups.setdefault(seeds_of(point), []).append(point.evaluation.top1)
        if len(groups) > 1:
            break
    return [mean(scores) for scores in groups.values()]


def _first_seed(point: Point) -> object:
    return settings_of(point).get("seed") if point.pretraining is not None else _all_seeds(point)


def _all_seeds(point: Point) -> object:
    values = settings_of(point)
    return tuple((key, values[key]) for key in sorted(values) if key.rpartition(": ")[2] in _SEEDS)


def within_reach(interval: Interval | None) -> Interval | None:
    """Cut an interval off at 0 and 1, beyond which no accuracy lies."""
    return None if interval is None else Interval(max(0.0, interval.low), min(1.0, interval.high))


def _is_averaged(key: str) -> bool:
    of_stage = key.rpartition(": ")[2]
    return of_stage in _SEEDS or key == _RATIO or _falls_under(of_stage, _MACHINE)


def _falls_under(key: str, entries: Sequence[str]) -> bool:
    return any(key == entry or key.startswith(f"{entry}.") for entry in entries)


def _stage(key: str) -> str:
    return key.rpartition(": ")[0]


def _leaves(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(values, Mapping):
        yield prefix.removesuffix("."), values
        return
    for name, value in values.items():
        yield from _leaves(value, f"{prefix}{name}.")
