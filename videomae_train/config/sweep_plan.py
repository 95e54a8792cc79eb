"""What a sweep has to run: every stage of every point, validated, told apart by its recipe, and placed in a folder."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from videomae_train.config.grammar import quoted
from videomae_train.config.sweep import Sweep
from videomae_train.config.sweep_folders import place_in, run_at
from videomae_train.config.sweep_points import PRETRAIN, Point
from videomae_train.config.sweep_recipes import Checked, check_stage
from videomae_train.data.layout import write_json
from videomae_train.errors import ConfigError, VideoMAETrainError
from videomae_train.model import VideoMAEConfig
from videomae_train.model.config_json import CLASSIFICATION, config_to_json

SHARED = "_shared"  # folder of the stages that points share
RESUME = "resume=auto"


@dataclass(frozen=True)
class Stage:
    """One run of one verb.

    Attributes:
        verb: pretrain, finetune, probe or evaluate.
        identity: Hash of its recipe, of the videos it takes and of the stages before it; 16 hexadecimal digits.
        folder: Of its run; absolute.
        words: Its whole command line behind the verb.
        ranks: Nodes, and devices on each.
    """

    verb: str
    identity: str
    folder: Path
    words: tuple[str, ...]
    ranks: tuple[int, int] = (1, 1)

    @property
    def log(self) -> Path:
        """Where what it prints is kept, beside its folder."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def trains(self) -> bool:
        """Whether it has steps to save, and goes on at one; what only scores begins again."""
        return RESUME in self.words

    @property
    def is_finished(self) -> bool:
        """Whether its last file is there, whole: a machine that goes down may leave one of no bytes."""
        return _is_whole(self.folder / "metrics.json") or (
            self.verb != "evaluate" and _is_whole(self.folder / "run.json")
        )


def _is_whole(json_file: Path) -> bool:
    try:
        with json_file.open(
            "rb"
        ) as file:  # its end alone: scores of many classes are large, and asked for often
            file.seek(max(0, file.seek(0, os.SEEK_END) - 8))
            return file.read().rstrip().endswith(b"}")
    except (FileNotFoundError, NotADirectoryError):
        return False


@dataclass(frozen=True)
class PlannedPoint:
    """A point and its stages, in their order."""

    point: Point
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class SweepPlan:
    """All points, and the stages that several of them need."""

    points: tuple[PlannedPoint, ...]
    shared: tuple[Stage, ...]

    def before(self, stage: Stage) -> tuple[Stage, ...]:
        """Give the stages that have to be there before one can begin."""
        chain = next(planned.stages for planned in self.points if stage in planned.stages)
        return chain[: chain.index(stage)]


class _Draft:
    """A stage whose folder is not decided yet, since nobody knows who else needs it.

    `checked.model` is what it trains; a stage without one scores, and ends its point.
    """

    def __init__(
        self, verb: str, words: Sequence[str], identity: str, before: _Draft | None, checked: Checked
    ) -> None:
        self.verb, self.words, self.identity, self.before = verb, tuple(words), identity, before
        self.checked, self.model = checked, checked.model

    def placed(self, folders: Mapping[str, Path]) -> Stage:
        folder = folders[self.identity]
        words = [*self.words, f"run={quoted(folder)}"]
        if self.before is not None:
            words.append(f"weights={quoted(folders[self.before.identity] / 'weights')}")
        if self.model is not None:
            words.append(RESUME)
            # Weights & Biases shows runs by their names, of which the last part of the folder is the same for all.
            names = {
                "logger.name": f"{folder.parent.name}/{folder.name}",
                "logger.group": folder.parents[1].name,
            }
            given = {word.partition("=")[0] for word in self.words if not word.endswith("=null")}
            words += [f"{key}={quoted(name)}" for key, name in names.items() if key not in given]
        return Stage(self.verb, self.identity, folder, tuple(words), self.checked.ranks)


def plan_sweep(sweep: Sweep, known: Mapping[str, str]) -> SweepPlan:
    """Compose and validate every stage of every point, and find those that are the same.

    Args:
        sweep: The request.
        known: Identity -> run folder, relative to the sweep's, of stages that were placed before.

    Raises:
        ConfigError: Some cannot run; all problems of all points are listed.
    """
    with tempfile.TemporaryDirectory(prefix="videomae-sweep-") as folder:
        planner = _Planner(sweep, Path(folder))
        drafts = {point: planner.chain(point) for point in sweep.points}
    if planner.problems:
        raise _not_runnable(len(sweep.points), planner.problems)
    _check_all_used(sweep, drafts)
    folders = _folders(sweep, drafts, known)
    _check_places(sweep, folders, known)
    points = tuple(
        PlannedPoint(point, tuple(draft.placed(folders) for draft in chain))
        for point, chain in drafts.items()
    )
    return SweepPlan(points, _shared(points))


@dataclass
class _Planner:
    """Composes and checks; what several points have in common is looked at once.

    Attributes:
        sweep: The request.
        models: Folder for configurations of models that are not trained yet.
        problems: Message -> stages of points that have it.
    """

    sweep: Sweep
    models: Path
    problems: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    _drafts: dict[tuple[str, ...], _Draft] = field(default_factory=dict[tuple[str, ...], _Draft])
    _bases: dict[tuple[str, ...], dict[str, list[str]]] = field(
        default_factory=dict[tuple[str, ...], dict[str, list[str]]]
    )

    def chain(self, point: Point) -> list[_Draft]:
        """Give a point's stages, up to the one that scores, or the first that has a problem."""
        stage = PRETRAIN
        chain: list[_Draft] = []
        try:
            bases = self._later_bases(point)
            stages = [PRETRAIN] * point.is_pretrained + list(self.sweep.options.then)
            for stage in stages:
                words = (
                    self.sweep.pretrain_words(point)
                    if stage == PRETRAIN
                    else self.sweep.later_words(stage, point, bases)
                )
                # A choice of data=... has all its own values, and words for single ones would beat it.
                if stage == "evaluate" and chain and not any(word.startswith("data=") for word in words):
                    words = [*chain[-1].checked.seen, *words]
                chain.append(self._draft(stage, words, chain[-1] if chain else None))
                if chain[-1].model is None:
                    break
        except VideoMAETrainError as error:
            self.problems.setdefault(str(error), []).append(f"{point.name}: {stage}")
        return chain

    def _later_bases(self, point: Point) -> dict[str, list[str]]:
        if not self.sweep.options.then:
            return {}
        key = tuple(self.sweep.pretrain_words(point))
        if key not in self._bases:
            self._bases[key] = self.sweep.later_bases(point)
        return self._bases[key]

    def _draft(self, verb: str, words: Sequence[str], before: _Draft | None) -> _Draft:
        key = (verb, before.identity if before else "", *words)
        if key not in self._drafts:
            self._drafts[key] = self._checked(verb, words, before)
        return self._drafts[key]

    def _checked(self, verb: str, words: Sequence[str], before: _Draft | None) -> _Draft:
        if verb == "evaluate" and before is not None and before.verb == PRETRAIN:
            raise ConfigError(
                where="sweep.then", came="evaluate right after the pretraining, whose model has no classes",
                expected="a stage that trains a classifier between them", todo="Give sweep.then=[finetune,evaluate].",
            )  # fmt: skip
        to_check = [*words, f"run={quoted(self.models / 'run')}"]
        if before is not None and before.model is not None:
            to_check.append(f"weights={quoted(self._stand_in(before.identity, before.model))}")
        checked = check_stage(verb, to_check)
        if before is not None:
            checked.recipe["weights"] = before.identity
        text = json.dumps([verb, checked.recipe], sort_keys=True, default=str)
        identity = blake2b(text.encode(), digest_size=8).hexdigest()
        return _Draft(verb, [*words, *checked.words], identity, before, checked)

    def _stand_in(self, identity: str, model: VideoMAEConfig) -> Path:
        """Write what later stages want to know of weights that are still to be trained."""
        folder = self.models / identity
        folder.mkdir(exist_ok=True)
        write_json(folder / "config.json", config_to_json(model, CLASSIFICATION))
        return folder


def _check_all_used(sweep: Sweep, drafts: Mapping[Point, Sequence[_Draft]]) -> None:
    """Refuse stages that no point comes to, because all have their score before."""
    used = {draft.verb for chain in drafts.values() for draft in chain}
    unused = [stage for stage in sweep.options.then if stage not in used]
    if unused:
        raise ConfigError(
            where="sweep.then", came=f"[{','.join(sweep.options.then)}] with probe.probe=knn at every point",
            expected="no stage after a probe that trains nothing: it scores by itself",
            todo=f"Leave out {', '.join(unused)}, or add a probe that trains: probe.probe=knn,linear.",
        )  # fmt: skip


def _folders(
    sweep: Sweep, drafts: Mapping[Point, Sequence[_Draft]], known: Mapping[str, str]
) -> dict[str, Path]:
    """Place each stage: where it was before, in its point's folder, or, if several need it, among the shared ones."""
    users = Counter(draft.identity for chain in drafts.values() for draft in chain)
    folders: dict[str, Path] = {}
    for point, chain in drafts.items():
        for draft in chain:
            own = f"{point.name}/{draft.verb}"
            place = own if users[draft.identity] == 1 else f"{SHARED}/{draft.verb}-{draft.identity}"
            folders[draft.identity] = run_at(sweep.folder, known.get(draft.identity, place))
    return folders


def _check_places(sweep: Sweep, folders: Mapping[str, Path], known: Mapping[str, str]) -> None:
    """Refuse to go on in a run of another recipe."""
    before = {place: identity for identity, place in known.items()}
    places = {identity: place_in(sweep.folder, folder) for identity, folder in folders.items()}
    taken = [
        place
        for identity, place in places.items()
        if before.get(place, identity) != identity and (sweep.folder / place).exists()
    ]
    if taken:
        listed = "".join(f"\n  - {place}" for place in sorted(taken))
        raise ConfigError(
            where=str(sweep.folder),
            came=f"{len(taken)} runs that were begun with another recipe:{listed}\n",
            expected="the recipes that this sweep began with (machine settings may differ)",
            todo="Give another run=<folder>, or remove these runs.",
        )


def _shared(points: Sequence[PlannedPoint]) -> tuple[Stage, ...]:
    """Find the stages of several points; machine settings, which no identity has, may be those of either."""
    stages = [stage for planned in points for stage in planned.stages]
    users = Counter(stage.identity for stage in stages)
    return tuple({stage.identity: stage for stage in stages if users[stage.identity] > 1}.values())


def _not_runnable(num_points: int, problems: Mapping[str, Sequence[str]]) -> ConfigError:
    def line(message: str, where: Sequence[str]) -> str:
        others = f" (and {len(where) - 1} more)" if len(where) > 1 else ""
        return f"\n  - {where[0]}{others}: {message}"

    listed = "".join(line(message, where) for message, where in problems.items())
    return ConfigError(
        where="sweep",
        came=f"stages that cannot run, of {num_points} point{'s' * (num_points > 1)}:{listed}\n",
        expected="every stage of every point to be able to run",
        todo="Correct them all; nothing was started.",
    )
