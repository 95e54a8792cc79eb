"""What the sweep `study` shows, and what it may say: its budgets, its scores, and the verdict that they allow.

`scripts/study.py` runs it. Below a fair budget, in an altered study or in an unfinished one nothing is decided,
whatever the numbers are; else the intervals decide, over seeds and over the recordings of the test.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from videomae_train.evaluation.intervals import Interval, RecordingBootstrap
from videomae_train.evaluation.seeds import seed_interval

SCRATCH = "from scratch"
FLOOR = "always naming the commonest class"
ASKED = "tube 0.9"  # the published best, chosen before looking: what is compared with everything else
SUMMARY, STUDY = "sweep.json", "study.json"
_NO_SPREAD = 1e-9  # rounding

Decision = Literal["better", "worse", "inconclusive"]
Hits = tuple[bool, ...]  # of each scored video, whether its class was found
Scores = Mapping[str, Mapping[str, Hits]]  # what was trained -> seed -> hits


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


@dataclass(frozen=True)
class ScoredVideos:
    """The videos that every score of a set is on.

    Attributes:
        keys: Of each.
        recordings: What each was cut from; its own key where that is not known.
        is_commonest: Whether each is of the commonest class.
    """

    keys: tuple[str, ...]
    recordings: tuple[str, ...]
    is_commonest: Hits

    @property
    def words(self) -> str:
        """Say what can be drawn of them, one independent of the other."""
        count = len(set(self.recordings))
        return f"{count} recordings" if count < len(self.keys) else f"{count} videos"


class Difference(NamedTuple):
    """How much better the mask that was asked about is, paired over seeds and over videos.

    Attributes:
        labels: Of each class, null for all.
        other: What it is compared with.
        mean: Of top-1 minus the other's.
        over_seeds: 95 %, Student's t over seeds; None with one seed.
        over_videos: 95 %, bootstrap over the recordings of the test, of the mean over seeds.
        num_seeds: That both have.
    """

    labels: str
    other: str
    mean: float
    over_seeds: Interval | None
    over_videos: Interval
    num_seeds: int

    @property
    def decision(self) -> Decision:
        """What the intervals alone would say: something only where neither reaches zero."""
        # The same for every seed: coincidence, or classifiers that always say the same.
        if self.over_seeds is None or has_no_spread(self.over_seeds):
            return "inconclusive"
        if min(self.over_seeds.low, self.over_videos.low) > 0:
            return "better"
        return "worse" if max(self.over_seeds.high, self.over_videos.high) < 0 else "inconclusive"


@dataclass(frozen=True)
class StudyResult:
    """One set at one budget.

    Attributes:
        name: Of the set.
        budget: A key of `BUDGETS`.
        scores: Labels of each class (null for all) -> what was trained -> seed -> hits.
        videos: That all scores are on; None without a score.
        hours: Of training, as the runs recorded them; None where one did not.
        changes: Overrides that make it another study.
        unfinished: Points without a score.
    """

    name: str
    budget: str
    scores: Mapping[str, Scores]
    videos: ScoredVideos | None
    hours: float | None
    changes: tuple[str, ...]
    unfinished: tuple[str, ...]

    @property
    def floor(self) -> float | None:
        """Top-1 of always naming the commonest class; None without a score."""
        return None if self.videos is None else top1(self.videos.is_commonest)

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
        if self.videos is None:
            return []
        others = dict(self.scores[labels])
        asked = others.pop(ASKED, {})
        others[FLOOR] = dict.fromkeys(asked, self.videos.is_commonest)
        pairs = {name: sorted(asked.keys() & found.keys()) for name, found in others.items()}
        bootstrap = RecordingBootstrap(np.unique(self.videos.recordings, return_inverse=True)[1])
        return [
            _difference(labels, name, [(asked[seed], others[name][seed]) for seed in seeds], bootstrap)
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


def top1(hits: Hits) -> float:
    """Give the share of hits, in [0, 1]."""
    return sum(hits) / len(hits)


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


def _difference(
    labels: str, other: str, pairs: Sequence[tuple[Hits, Hits]], bootstrap: RecordingBootstrap
) -> Difference:
    by_video = np.array([np.subtract(asked, others, dtype=np.float32) for asked, others in pairs])
    by_seed = [top1(asked) - top1(others) for asked, others in pairs]
    over_videos = bootstrap.of_difference(by_video.mean(0))
    return Difference(labels, other, float(np.mean(by_seed)), seed_interval(by_seed), over_videos, len(pairs))
