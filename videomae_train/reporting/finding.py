"""Which runs belong together: from folders on the command line to the points of a report.

A sweep's folder holds one folder for each point, and that one folder for each stage:

    <sweep>/<point>/pretrain   <sweep>/<point>/finetune (or probe)   <sweep>/<point>/evaluate

A stage's folder may be a link, or hold a stage.json {"run": "../../_shared/<hash>"} that names, relative to itself, the
run of a stage that points share. A point may also be a single run, and folders that begin with _ or . are no points.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from videomae_train.errors import ConfigError
from videomae_train.reporting.facts import (
    EvaluationFacts,
    Point,
    RecordedStage,
    State,
    TrainingFacts,
    Verdict,
)
from videomae_train.reporting.reading import (
    is_run,
    is_training,
    read_evaluation,
    read_training,
    read_verdict,
    recorded_points,
    recorded_stages,
)

PRETRAIN, CLASSIFY, EVALUATE = ("pretrain",), ("finetune", "probe"), ("evaluate", "evaluation")
_STAGES = (*PRETRAIN, *CLASSIFY, *EVALUATE)
_REFERENCE = "stage.json"
_SLURM_LOGS = "slurm"  # configs/launcher/slurm.yaml
_NO_REASON = "its sweep does not say why"


@dataclass(frozen=True)
class Found:
    """Points, and what was passed by.

    Attributes:
        points: In the order of their names.
        passed_by: Folders beside them that no verb has written.
        verdicts: Of sweeps, where their records hold one.
        problems: With the folders themselves, a sentence each.
    """

    points: tuple[Point, ...]
    passed_by: tuple[Path, ...]
    verdicts: tuple[Verdict, ...] = ()
    problems: tuple[str, ...] = ()


def find_points(folders: Sequence[Path], now: datetime) -> Found:
    """Read all runs in folders and join those that belong together.

    Stages of one point do, and so do runs whose weights one starts from, or scores, where those can be found.

    Args:
        folders: Runs, points, and folders of these.
        now: With a time zone; see `read_training`.

    Raises:
        ConfigError: A folder is none, or holds no run.
    """
    reader = _Reader(now)
    for folder in folders:
        reader.take(folder)
    return reader.found()


@dataclass
class _Reader:
    """Reads every run once."""

    now: datetime
    trainings: dict[Path, TrainingFacts] = field(default_factory=dict[Path, TrainingFacts])
    points: dict[Path, Point] = field(default_factory=dict[Path, Point])
    passed_by: list[Path] = field(default_factory=list[Path])
    verdicts: list[Verdict] = field(default_factory=list[Verdict])
    problems: list[str] = field(default_factory=list[str])

    def take(self, folder: Path) -> None:
        """Take a folder of the command line."""
        if not folder.is_dir():
            raise _no_run(folder, "no folder")
        if self._take_point(folder):
            return
        inside = list(_subfolders(folder))
        recorded = [folder / name for name in recorded_points(folder)]
        runs = [each for each in inside if self._take_point(each)]
        if not runs and not recorded:
            raise _no_run(folder, "a folder without a run in it")
        self._take_verdict(folder)
        # A point that waits for those before it has no folder yet, one that failed early nothing but a log in it.
        for each in recorded:
            if each not in runs:
                self.points[each] = self._chain({}, recorded_stages(each))
        for each in inside:
            if each not in runs and each not in recorded:
                self._take_other(each)

    def _take_verdict(self, sweep: Path) -> None:
        verdict = read_verdict(sweep)
        if isinstance(verdict, Verdict):
            self.verdicts.append(verdict)
        elif verdict is not None:
            self.problems.append(verdict)

    def found(self) -> Found:
        """Name the points; runs that others start from are part of those, and no points by themselves."""
        started_from = {
            stage.folder.resolve()
            for point in self.points.values()
            for stage in point.trainings
            if stage is not point.trainings[-1] or point.evaluation is not None
        }
        kept = {
            folder: point
            for folder, point in self.points.items()
            if point.evaluation is not None or folder.resolve() not in started_from
        }
        kept = {folder: kept[folder] for folder in _without_former_names(kept)}
        names = _names(list(kept))
        points = (replace(point, name=names[folder]) for folder, point in kept.items())
        return Found(
            tuple(sorted(points, key=lambda point: point.name)),
            tuple(self.passed_by),
            tuple(self.verdicts),
            tuple(self.problems),
        )

    def _take_point(self, folder: Path) -> bool:
        """Take a run or a point; say whether it was one."""
        if is_run(folder):
            self.points[folder] = self._single(folder)
            return True
        stages = {name: folder / name for name in _STAGES if (folder / name).is_dir()}
        others = [each for each in _subfolders(folder) if each.name not in _STAGES and is_run(each)]
        if not stages or others:
            return False
        self.points[folder] = self._chain(stages, recorded_stages(folder))
        return True

    def _take_other(self, folder: Path) -> None:
        """Take an empty folder, in which a point was to begin, and note any other but Slurm's logs."""
        if folder.name == _SLURM_LOGS and recorded_points(folder.parent):
            return
        if any(each.name != ".hydra" for each in folder.iterdir()):
            self.passed_by.append(folder)
        else:
            self.points[folder] = Point(folder.name, problems=("its folder is empty: it has not begun",))

    def _single(self, folder: Path) -> Point:
        if not is_training(folder):
            return self._linked(_scored(Point(folder.name), folder))
        nested = [folder / name for name in EVALUATE if (folder / name / "metrics.json").is_file()]
        point = self._trained(folder)
        if (folder / "metrics.json").is_file():
            return self._linked(_scored(point, folder))
        return self._linked(_scored(point, nested[0]) if nested else point)

    def _trained(self, folder: Path) -> Point:
        facts = self._training(folder)
        if facts.verb == "pretrain" or "masking" in facts.config:
            return Point(folder.name, pretraining=facts)
        return Point(folder.name, classifier=facts)

    def _chain(self, stages: Mapping[str, Path], recorded: Mapping[str, RecordedStage]) -> Point:
        """Join a point's stages; of those that its sweep knows and that are not there, say how they stand."""
        point = Point("")
        for name, folder in stages.items():
            try:
                run = _followed(folder)
            except (OSError, ValueError, KeyError, TypeError) as error:
                point = _with_problem(point, f"{name}: its {_REFERENCE} cannot be followed ({error})")
                continue
            if not is_run(run):
                point = _without_run(point, name, recorded.get(name))
            elif name in EVALUATE or not is_training(run):  # a probe that trains nothing scores by itself
                point = _scored(point, run, name, recorded.get(name))
            else:
                facts = _as_recorded(self._training(run), name, recorded.get(name))
                point = replace(point, **{"pretraining" if name in PRETRAIN else "classifier": facts})
        for name in [each for each in recorded if each not in stages]:
            point = _without_run(point, name, recorded[name])
        return self._linked(replace(point, is_waiting=_waits(point, recorded)))

    def _linked(self, point: Point) -> Point:
        """Add the runs that a point's stages say they start from, where they can be found."""
        if point.classifier is None and point.evaluation is not None:
            run = _run_of(point.evaluation.weights)
            point = point if run is None else replace(point, classifier=self._training(run))
        source = point.classifier.config.get("weights") if point.classifier is not None else None
        if point.pretraining is None and isinstance(source, str):
            run = _run_of(source)
            point = point if run is None else replace(point, pretraining=self._training(run))
        return point

    def _training(self, folder: Path) -> TrainingFacts:
        place = folder.resolve()
        if place not in self.trainings:
            self.trainings[place] = read_training(folder, self.now)
        return self.trainings[place]


def _without_former_names(points: Mapping[Path, Point]) -> Iterator[Path]:
    """Leave out folders that a sweep has named otherwise since, when more values made points differ in more.

    Their last run is that of another point, and its score would count as a further seed's. Points that the record names
    may have a run in common, such as a pretraining after which none of them has got on, but not a score.
    """
    names = {parent: recorded_points(parent) for parent in {folder.parent for folder in points}}
    named = {folder for folder in points if folder.name in names[folder.parent]}
    runs_of_named = {run for folder in named for run in _runs_of(points[folder])}
    scores: set[Path] = set()
    for folder, point in points.items():
        runs = _runs_of(point)
        if runs and folder not in named and runs[-1] in runs_of_named:
            continue
        if point.evaluation is not None:
            if runs[-1] in scores:
                continue
            scores.add(runs[-1])
        yield folder


def _runs_of(point: Point) -> list[Path]:
    """Give where the runs of a point are, in order."""
    stages = (*point.trainings, point.evaluation)
    return [stage.folder.resolve() for stage in stages if stage is not None]


def _scored(point: Point, folder: Path, stage: str = "", recorded: RecordedStage | None = None) -> Point:
    score = read_evaluation(folder)
    if isinstance(score, EvaluationFacts):
        return replace(point, evaluation=score)
    if recorded is not None and recorded.state == "failed":
        return _without_run(point, stage, recorded)
    return _with_problem(point, f"{folder.name}: {score}")


def _as_recorded(facts: TrainingFacts, verb: str, recorded: RecordedStage | None) -> TrainingFacts:
    """Believe a sweep's record of a run that did not write its failure down: it was killed, or still setting up.

    A run that has been started again since is believed itself. Both times are ISO 8601 in UTC, whose texts compare.
    """
    if recorded is None or recorded.state != "failed" or facts.state.name in ("failed", "finished"):
        return facts
    if facts.began > recorded.written > "":
        return facts
    return replace(facts, verb=verb, state=State("failed", recorded.reason or _NO_REASON))


def _without_run(point: Point, stage: str, recorded: RecordedStage | None) -> Point:
    """Say of a stage that left no run how it stands by the sweep's record."""
    if recorded is not None and recorded.state == "failed":
        return replace(point, failures={**point.failures, stage: recorded.reason or _NO_REASON})
    if recorded is not None and recorded.state == "running":
        return replace(point, running=point.running or stage)
    return _with_problem(point, f"{stage}: {'has not begun' if recorded is None else recorded.words}")


def _waits(point: Point, recorded: Mapping[str, RecordedStage]) -> bool:
    """Say whether nothing is known of a point but that its sweep has not begun it."""
    is_there = bool(point.trainings or point.evaluation)
    waiting = {f"{verb}: {stage.words}" for verb, stage in recorded.items() if stage.state == "waiting"}
    return not is_there and len(waiting) == len(recorded) > 0 and waiting.issuperset(point.problems)


def _with_problem(point: Point, problem: str) -> Point:
    return replace(point, problems=(*point.problems, problem))


def _followed(folder: Path) -> Path:
    """Follow a stage's reference to a shared run."""
    reference = folder / _REFERENCE
    if not reference.is_file():
        return folder
    return folder / str(json.loads(reference.read_text(encoding="utf-8"))["run"])


def _run_of(weights: str) -> Path | None:
    """Find the run that weights are of: theirs is its weights folder, or one of its checkpoints."""
    place = Path(weights)
    parents = (place, *place.parents[:2])
    return next((folder for folder in parents if (folder / "recipe.json").is_file()), None)


def _subfolders(folder: Path) -> Iterator[Path]:
    yield from sorted(each for each in folder.iterdir() if each.is_dir() and each.name[0] not in "._")


def _names(folders: Sequence[Path]) -> dict[Path, str]:
    """Name folders by as many of their last parts as tell them apart."""
    parts = {folder: folder.absolute().parts for folder in folders}
    for count in range(1, max(map(len, parts.values()), default=1) + 1):
        names = {folder: "/".join(part[-count:]) for folder, part in parts.items()}
        if len(set(names.values())) == len(folders):
            return names
    return {folder: str(folder) for folder in folders}


def _no_run(folder: Path, came: str) -> ConfigError:
    return ConfigError(
        where=str(folder),
        came=came,
        expected="the folder of a run, or a folder of runs",
        todo="Give what run=... named when it began, or the folder of a sweep.",
    )
