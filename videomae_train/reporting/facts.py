"""What a report knows of runs: plain values, read by `reading` and shown by the parts of the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from videomae_train.training.metrics import Curve

StateName = Literal["finished", "running", "preempted", "failed", "silent", "not started"]
NO_INTERVAL = (float("nan"), float("nan"))


class State(NamedTuple):
    """Where a run is.

    Attributes:
        name: silent: unfinished, and neither an end nor a recent sign of life is known.
        words: The same in a sentence, with the reason or the last sign of life.
    """

    name: StateName
    words: str


class Alarm(NamedTuple):
    """What `training.alarms.Alarm` says; see there."""

    name: str
    step: int
    words: str
    todo: str


class FaultyVideo(NamedTuple):
    """A video that could not be read, once, whatever the number of times it was met."""

    key: str
    cause: str
    detail: str


@dataclass(frozen=True)
class TrainingFacts:
    """A run of pretraining, fine-tuning or a probe.

    Attributes:
        folder: The run's folder.
        verb: pretrain, finetune ...
        state: Where it is.
        config: As recipe.json has it; empty where that is missing.
        changes: Recipe changes on resuming, as recipe.json has them.
        curves: Metric -> curve over all attempts.
        num_attempts: Attempts that reported.
        total_steps: Optimizer steps of the whole run; None where nothing says so.
        baselines: Losses that need no model.
        videos: Fingerprint of those that are trained on, wherever they lie; None where the folder does not say.
        alarms: Raised while it went on.
        faults: Videos that could not be read.
        num_faults: How often one was met.
        has_checkpoint: Whether there is something to go on from.
        began: When the latest attempt did, ISO 8601 in UTC; empty where the folder does not say.
        loops: Moving reconstructions made while it went on, step -> file, ascending.
        problems: What is missing or broken in the folder, in words.
    """

    folder: Path
    verb: str
    state: State
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    changes: tuple[Mapping[str, Any], ...] = ()
    curves: Mapping[str, Curve] = field(default_factory=dict[str, Curve])
    num_attempts: int = 0
    total_steps: int | None = None
    baselines: Mapping[str, float] = field(default_factory=dict[str, float])
    videos: str | None = None
    alarms: tuple[Alarm, ...] = ()
    faults: tuple[FaultyVideo, ...] = ()
    num_faults: int = 0
    has_checkpoint: bool = False
    began: str = ""
    loops: Mapping[int, Path] = field(default_factory=dict[int, Path])
    problems: tuple[str, ...] = ()

    @property
    def steps(self) -> int:
        """The last step that was reported."""
        return max((int(curve.steps[-1]) for curve in self.curves.values()), default=0)

    @property
    def loss(self) -> float | None:
        """The loss of the last report, which may be NaN."""
        return self._last("train/loss")

    @property
    def views_per_sec(self) -> float | None:
        """The median over the reports; the first of an attempt, which holds its start, does not move it much."""
        values = self._finite("train/views_per_sec")
        return float(np.median(values)) if len(values) else None

    @property
    def memory_gib(self) -> float | None:
        """The most memory in use."""
        values = self._finite("train/memory_gib")
        return float(values.max()) if len(values) else None

    @property
    def hours(self) -> float | None:
        """Hours of training over all attempts: views of the steps through views/s, so without starts and pauses."""
        views = self.views_per_step
        curve = self.curves.get("train/views_per_sec")
        if views is None or curve is None:
            return None
        fast = curve.values > 0
        seconds = np.diff(curve.steps, prepend=0)[fast] * views / curve.values[fast]
        return float(seconds.sum()) / 3600

    @property
    def views_per_step(self) -> int | None:
        """Clips that an optimizer step takes over all ranks."""
        try:
            return int(self.config["optim"]["global_batch"]) * int(self.config["data"]["views"])
        except (KeyError, TypeError, ValueError):
            return None

    def _last(self, metric: str) -> float | None:
        curve = self.curves.get(metric)
        return None if curve is None else float(curve.values[-1])

    def _finite(self, metric: str) -> NDArray[np.float64]:
        curve = self.curves.get(metric)
        values = np.zeros(0) if curve is None else curve.values
        return values[np.isfinite(values)]


class Verdict(NamedTuple):
    """What whoever laid a sweep out says that it shows, once its numbers were looked at.

    Attributes:
        words: In a sentence.
        reasons: What it stands on, a sentence each.
    """

    words: str
    reasons: tuple[str, ...]


class ClassRow(NamedTuple):
    """One class among the scored videos, as `evaluation.classes.ClassScore`."""

    name: str
    num_videos: int
    recall: float | None
    precision: float | None


class ConfusedPair(NamedTuple):
    """Videos of one class that were taken for another, as `evaluation.classes.Confusion`."""

    label: str
    taken_for: str
    num_videos: int
    share: float


@dataclass(frozen=True)
class VideoPredictions:
    """What scores.npz holds.

    Attributes:
        keys: Of each scored video.
        sample_ids: int64 (n,), rows of the set's index.
        labels: int64 (n,).
        probabilities: float32 (n, K).
        classes: K names.
    """

    keys: tuple[str, ...]
    sample_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    classes: tuple[str, ...]

    @property
    def of_right_class(self) -> NDArray[np.float32]:
        """float32 (n,): the probability of each video's own class."""
        return self.probabilities[np.arange(len(self.labels)), self.labels]


@dataclass(frozen=True)
class EvaluationFacts:
    """A score.

    Attributes:
        folder: Where it is.
        weights: What was scored.
        data: The packed set; None where the folder does not say.
        fingerprint: Of the set, wherever it lies; None where the folder does not say.
        selection: Of the set.
        views: Such as "5 x 3".
        view_options: How views are taken, as `ViewOptions`; empty where the folder does not say.
        weights_kind: last or best; None where the folder does not say.
        remarks: What the weights had to do with the videos before, such as "chosen on these very videos"; empty where
            that is nothing, or not known.
        top1: In [0, 1].
        interval: 95 % bootstrap interval of top1 over videos or recordings, NaN where there is none.
        top5: None with five classes or fewer.
        mean_class: Mean over classes of each class's top-1.
        num_scored: Videos that the score stands on.
        num_videos: Videos of the selection.
        num_recordings: That the scored videos were cut from, which the interval is over; None if it is over videos.
        probe: Settings of a probe that trains nothing, by dotted keys; empty for a classifier's score.
        classes: Each class's figures.
        confused: Pairs, most confusions first.
        confusion_matrix: int64 (K, K), rows are the videos' classes; (0, 0) where there is none.
        faults: Videos that could not be read.
        predictions: Of each video; None where scores.npz is missing or broken.
        problems: What is missing or broken.
    """

    folder: Path
    weights: str
    data: str | None
    selection: str
    views: str
    top1: float
    interval: tuple[float, float]
    top5: float | None
    mean_class: float | None
    num_scored: int
    num_videos: int
    num_recordings: int | None = None
    probe: Mapping[str, Any] = field(default_factory=dict[str, Any])
    view_options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    weights_kind: str | None = None
    remarks: str = ""
    classes: tuple[ClassRow, ...] = ()
    confused: tuple[ConfusedPair, ...] = ()
    confusion_matrix: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    faults: tuple[FaultyVideo, ...] = ()
    predictions: VideoPredictions | None = None
    fingerprint: str | None = None
    problems: tuple[str, ...] = ()

    @property
    def standing(self) -> str:
        """On how many of how many videos the score stands."""
        return f"{self.num_scored} of {self.num_videos}"

    @property
    def of_recordings(self) -> str:
        """What to add where the interval is over recordings; empty where it is over videos."""
        return "" if self.num_recordings is None else f" over {self.num_recordings} recordings"


class RecordedStage(NamedTuple):
    """How a stage stands by its sweep's record.

    Attributes:
        state: waiting, running, finished, failed or stopped; lost where it ran, and its sweep's process is gone.
        reason: Why; may be empty.
        written: When the record was, ISO 8601 in UTC; empty where it does not say.
    """

    state: str
    reason: str
    written: str

    @property
    def words(self) -> str:
        """State and reason."""
        if self.state == "waiting":
            return "has not begun"
        if self.state == "lost":
            return "it ran when its sweep's process ended without a word"
        return f"{self.state}: {self.reason}" if self.reason else self.state


@dataclass(frozen=True)
class Point:
    """One line of the overview: a run alone, or a chain of stages that ends in a score.

    Attributes:
        name: Of the point's folder or the run's.
        pretraining: The pretraining that the rest starts from.
        classifier: Fine-tuning or a probe.
        evaluation: The score.
        problems: What is missing, beside what the stages say themselves.
        failures: Stages that failed without a run that could say so -> why.
        is_waiting: Whether a sweep's record names it, and none of its stages has begun.
        running: The stage that runs by its sweep's record, where it has left no run that says so; a score leaves
            nothing before its end. Empty where there is none.
    """

    name: str
    pretraining: TrainingFacts | None = None
    classifier: TrainingFacts | None = None
    evaluation: EvaluationFacts | None = None
    problems: tuple[str, ...] = ()
    failures: Mapping[str, str] = field(default_factory=dict[str, str])
    is_waiting: bool = False
    running: str = ""

    @property
    def trainings(self) -> tuple[TrainingFacts, ...]:
        """The stages that trained, in order."""
        return tuple(stage for stage in (self.pretraining, self.classifier) if stage is not None)

    @property
    def state(self) -> tuple[str, str]:
        """The stage that decides about the point, where there is one, and its state."""
        for verb in self.failures:
            return verb, "failed"
        if self.is_waiting:
            return "", "waiting"
        for stage in self.trainings:
            if stage.state.name != "finished":
                return stage.verb, stage.state.name
        if self.running:
            return self.running, "running"
        if not self.trainings and self.evaluation is None:
            return "", "not started"
        return "", "incomplete" if self.problems else "finished"
