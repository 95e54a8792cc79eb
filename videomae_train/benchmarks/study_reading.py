"""What a study's sweep left: of every point and every video whether its class was found, and the hours of it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from videomae_train.benchmarks.study import (
    BUDGETS,
    SCRATCH,
    STUDY,
    SUMMARY,
    Hits,
    ScoredVideos,
    StudyResult,
)
from videomae_train.errors import ConfigError
from videomae_train.evaluation.recordings import recordings_of
from videomae_train.evaluation.scoring import VideoScores, are_among
from videomae_train.reporting.finding import find_points

_PER_CLASS = "finetune.data.per_class"
_OF_UCF101 = r"v_.+_g\d+"  # as configs/data/evaluate_ucf101.yaml has it

Points = Mapping[str, Mapping[str, Any]]


def read_result(sweep: Path) -> StudyResult:
    """Read what a study's sweep came to, from its study.json, its sweep.json and its runs.

    Raises:
        ConfigError: They are not what was written.
    """
    try:
        about: dict[str, Any] = json.loads((sweep / STUDY).read_text())
        record: dict[str, Any] = json.loads((sweep / SUMMARY).read_text())
        points: dict[str, dict[str, Any]] = record["points"]
        budget = BUDGETS[about["budget"]]
        common = {"seed": budget.seeds, _PER_CLASS: budget.per_class, **_values(record.get("shared", []))}
        return StudyResult(
            name=about["set"], budget=about["budget"], scores=_scores(sweep, points, common),
            videos=_videos(sweep, points), hours=_hours(sweep), changes=tuple(about["changes"]),
            unfinished=tuple(name for name, point in points.items() if point["score"] is None),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            where=str(sweep), came=f"no study ({type(error).__name__}: {error})",
            expected=f"{STUDY} and {SUMMARY} as the study wrote them", 
            todo="Start the study again; it runs what is missing.",
        ) from error  # fmt: skip


def _scores(sweep: Path, points: Points, common: Mapping[str, str]) -> dict[str, dict[str, dict[str, Hits]]]:
    """Sort the scores; a point does not name what all have in `common`."""
    found: dict[str, dict[str, dict[str, Hits]]] = {}
    for point, file in _scored(sweep, points):
        values = {**common, **_values(point["overrides"])}
        is_scratch = values.get("pretrain") == "null"
        mask = SCRATCH if is_scratch else f"{values['masking']} {values['masking.ratio']}"
        labels = found.setdefault(values[_PER_CLASS], {})
        labels.setdefault(mask, {})[values["seed"]] = _hits(file)
    return found


def _values(overrides: Sequence[str]) -> dict[str, str]:
    return {key: value for key, _, value in (override.partition("=") for override in overrides)}


def _scored(sweep: Path, points: Points) -> Iterator[tuple[Mapping[str, Any], Path]]:
    """Yield each point that has a score, and the file with what was said of every video."""
    for point in points.values():
        if point["score"] is not None:
            yield point, sweep / point["stages"]["evaluate"]["run"] / "scores.npz"


def _hits(file: Path) -> Hits:
    saved = np.load(file)
    scores = VideoScores(saved["sample_ids"], saved["labels"], saved["probabilities"], ())
    return tuple(are_among(scores, 1).tolist())


def _videos(sweep: Path, points: Points) -> ScoredVideos | None:
    """Read which videos were scored.

    Raises:
        ValueError: Not the same at all points.
    """
    files = [file for _, file in _scored(sweep, points)]
    found = {(*np.load(file)["keys"].tolist(),): file for file in files}
    if len(found) > 1:
        raise ValueError(f"other videos in {' than in '.join(map(str, list(found.values())[:2]))}")
    for keys, file in found.items():
        labels = np.load(file)["labels"].tolist()
        ((commonest, _),) = Counter(labels).most_common(1)
        is_known = all(re.search(_OF_UCF101, key) for key in keys)
        recordings = recordings_of(keys, _OF_UCF101) if is_known else None
        return ScoredVideos(keys, tuple(recordings or keys), tuple(label == commonest for label in labels))
    return None


def _hours(sweep: Path) -> float | None:
    """Add up the hours of all trainings, those that points share once."""
    points = find_points([sweep], datetime.now(UTC)).points
    runs = {run.folder.resolve(): run.hours for point in points for run in point.trainings}
    known = [hours for hours in runs.values() if hours is not None]
    return sum(known) if known and len(known) == len(runs) else None
