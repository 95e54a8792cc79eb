"""What the sweep `study` shows, and what it may say: its budgets, its scores, and the verdict that they allow.

`scripts/study.py` runs it. Below a fair budget, in an altered study or in an unfinished one nothing is decided,
whatever the numbers are; else the intervals over seeds decide.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from videomae_train.errors import ConfigError
from videomae_train.evaluation.intervals import Interval
from videomae_train.evaluation.seeds import seed_interval
from videomae_train.reporting.finding import find_points

SCRATCH = "from scratch"
FLOOR = "always naming the commonest class"
ASKED = "tube 0.9"  # the published best, chosen before looking: what is compared with everything else
SUMMARY, STUDY = "sweep.json", "study.json"
_NO_SPREAD = 1e-9  # rounding
_PER_CLASS = "finetune.data.per_class"

Decision = Literal["better", "worse", "inconclusive"]
Scores = Mapping[str, Mapping[str, float]]  # what was trained -> seed -> top-1


@dataclass(frozen=True)
class Budget:
    """How much is spent.

    Attributes:
        pretrain_steps: Of each pretraining, 8 videos x 2 views each.
        finetune_steps: Of each classifier, pretrained or not.
        seeds: As the command line has them.
        per_class: Labelled videos of each class, as the command line has them; null for all.
        motions: How many videos are generated.
        is_fair: Whether pretraining had steps enough for its score to be held against it, or for it.
    """

    pretrain_steps: int
    finetune_steps: int
    seeds: str
    per_class: str
    motions: int
    is_fair: bool


BUDGETS = {
    "smoke": Budget(4, 4, "0", "null", 48, is_fair=False),
    "small": Budget(500, 300, "0,1,2", "null,2", 480, is_fair=False),
    "fair": Budget(2500, 300, "0,1,2", "null,2", 480, is_fair=True),
    "long": Budget(10000, 300, "0,1,2", "null,2", 1920, is_fair=True),
}

# What changes where and how fast a study runs, not what it asks.
_OF_MACHINE = re.compile(
    r"(launcher|hydra|sweep\.(at_once|reuse)|(finetune\.)?(trainer|loader|logger|watch)"
    r"|evaluate\.(accelerator|devices|num_nodes|threads|loader))\b.*"
)


class Difference(NamedTuple):
    """How much better the mask that was asked about is, paired over seeds.

    Attributes:
        labels: Of each class, null for all.
        other: What it is compared with.
        mean: Of top-1 minus the other's.
        interval: 95 %, Student's t over seeds; None with one seed.
        num_seeds: That both have.
    """

    labels: str
    other: str
    mean: float
    interval: Interval | None
    num_seeds: int

    @property
    def decision(self) -> Decision:
        """What the interval alone would say."""
        if self.interval is None or self.interval.low <= 0 <= self.interval.high:
            return "inconclusive"
        # The same for every seed: coincidence, or classifiers that always say the same.
        if has_no_spread(self.interval):
            return "inconclusive"
        return "better" if self.interval.low > 0 else "worse"


@dataclass(frozen=True)
class StudyResult:
    """One set at one budget.

    Attributes:
        name: Of the set.
        budget: A key of `BUDGETS`.
        scores: Labels of each class (null for all) -> what was trained -> seed -> top-1.
        floor: Top-1 of always naming the commonest class; None without a score.
        hours: Of training, as the runs recorded them; None where one did not.
        changes: Overrides that make it another study.
        unfinished: Points without a score.
    """

    name: str
    budget: str
    scores: Mapping[str, Scores]
    floor: float | None
    hours: float | None
    changes: tuple[str, ...]
    unfinished: tuple[str, ...]

    @property
    def obstacles(self) -> list[str]:
        """Say why nothing is decided, whatever the numbers are; empty where the intervals decide."""
        found: list[str] = []
        if not BUDGETS[self.budget].is_fair:
            fair = ", ".join(name for name, budget in BUDGETS.items() if budget.is_fair)
            found.append(f"Budget {self.budget} is less than a fair one ({fair}).")
        if self.changes:
            found.append(f"It is not the study as it was laid out: {' '.join(self.changes)}.")
        if self.unfinished:
            found.append(f"{len(self.unfinished)} points have no score, such as {self.unfinished[0]}.")
        return found

    def differences(self, labels: str) -> list[Difference]:
        """Compare the mask that was asked about with all others, from scratch, and the floor."""
        others = dict(self.scores[labels])
        asked = others.pop(ASKED, {})
        if self.floor is not None:
            others[FLOOR] = dict.fromkeys(asked, self.floor)
        pairs = {name: sorted(asked.keys() & found.keys()) for name, found in others.items()}
        return [
            _difference(labels, name, [asked[seed] - others[name][seed] for seed in seeds])
            for name, seeds in pairs.items()
            if seeds
        ]

    def decide(self, difference: Difference) -> Decision:
        """Say what may be said of a difference."""
        return "inconclusive" if self.obstacles else difference.decision

    def answer(self, labels: str) -> Decision:
        """Say whether pretraining beats from scratch; better only where it beats the floor too."""
        return _against_scratch({each.other: self.decide(each) for each in self.differences(labels)})

    def is_above(self, labels: str) -> bool:
        """Whether the intervals alone, whatever was spent, would say that pretraining beats from scratch."""
        return _against_scratch({each.other: each.decision for each in self.differences(labels)}) == "better"

    @property
    def verdict(self) -> str:
        """Say the answer for all labels and for few."""
        answers = {labels: self.answer(labels) for labels in self.scores}
        if set(answers.values()) <= {"inconclusive"}:
            return "inconclusive"
        return ", ".join(f"{answer} with {named(labels)}" for labels, answer in answers.items())


def changes_of(overrides: Sequence[str]) -> tuple[str, ...]:
    """Pick the overrides that make another study of it.

    >>> changes_of(["sweep.at_once=2", "trainer.precision=bf16", "optim.steps=10"])
    ('optim.steps=10',)
    """
    return tuple(word for word in overrides if not _OF_MACHINE.fullmatch(word))


def read_result(sweep: Path) -> StudyResult:
    """Read what a study's sweep came to, from its study.json, its sweep.json and its runs.

    Raises:
        ConfigError: They are not what was written.
    """
    try:
        about: dict[str, Any] = json.loads((sweep / STUDY).read_text())
        points: dict[str, dict[str, Any]] = json.loads((sweep / SUMMARY).read_text())["points"]
        budget = BUDGETS[about["budget"]]
        return StudyResult(
            name=about["set"], budget=about["budget"], scores=_scores(points, budget), floor=_floor(sweep),
            hours=_hours(sweep), changes=tuple(about["changes"]),
            unfinished=tuple(name for name, point in points.items() if point["score"] is None),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            where=str(sweep), came=f"no study ({type(error).__name__}: {error})",
            expected=f"{STUDY} and {SUMMARY} as the study wrote them", 
            todo="Start the study again; it runs what is missing.",
        ) from error  # fmt: skip


def has_no_spread(interval: tuple[float, float]) -> bool:
    """Whether all seeds have the same, which is no sign of how far others would be from it."""
    return interval[1] - interval[0] < _NO_SPREAD


def named(labels: str) -> str:
    """Name the amount of labels."""
    return "all labels" if labels == "null" else f"{labels} labels of each class"


def _against_scratch(decisions: Mapping[str, Decision]) -> Decision:
    if decisions.get(SCRATCH) == "better" and decisions.get(FLOOR) != "better":
        return "inconclusive"
    return decisions.get(SCRATCH, "inconclusive")


def _difference(labels: str, other: str, differences: Sequence[float]) -> Difference:
    interval = seed_interval(differences)
    return Difference(labels, other, float(np.mean(differences)), interval, len(differences))


def _scores(
    points: Mapping[str, Mapping[str, Any]], budget: Budget
) -> dict[str, dict[str, dict[str, float]]]:
    """Sort the scores; a point does not name what all have in common."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for point in points.values():
        own = dict(override.split("=", 1) for override in point["overrides"])
        values = {"seed": budget.seeds, _PER_CLASS: budget.per_class, **own}
        mask = f"{values['masking']} {values['masking.ratio']}" if "masking" in values else SCRATCH
        if point["score"] is not None:
            labels = found.setdefault(values[_PER_CLASS], {})
            labels.setdefault(mask, {})[values["seed"]] = float(point["score"]["top1"])
    return found


def _floor(sweep: Path) -> float | None:
    file = next(iter(sorted(sweep.glob("*/evaluate/scores.npz"))), None)
    if file is None:
        return None
    counts = Counter(np.load(file)["labels"].tolist())
    return max(counts.values()) / counts.total()


def _hours(sweep: Path) -> float | None:
    """Add up the hours of all trainings, those that points share once."""
    points = find_points([sweep], datetime.now(UTC)).points
    runs = {run.folder.resolve(): run.hours for point in points for run in point.trainings}
    known = [hours for hours in runs.values() if hours is not None]
    return sum(known) if known and len(known) == len(runs) else None
