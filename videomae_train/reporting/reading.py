"""From a run's folder to facts: what is missing, half written or broken there becomes a sentence, never an error."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from videomae_train.reporting.facts import (
    NO_INTERVAL,
    Alarm,
    ClassRow,
    ConfusedPair,
    EvaluationFacts,
    FaultyVideo,
    RecordedStage,
    TrainingFacts,
    Verdict,
    VideoPredictions,
)
from videomae_train.reporting.states import Signs, judge_state
from videomae_train.training.heartbeats import host_name, process_is_running
from videomae_train.training.metrics import read_records

Row = TypeVar("Row")

_MARKS = ("recipe.json", "run.json", "attempt.json", "metrics.json", "logs", "checkpoints")
_SIGNS = (
    "attempt.json",
    "run.json",
    "ledger.csv",
    "logs/version_*/metrics.csv",
    "ranks/*.json",
    "checkpoints/*",
)


def is_run(folder: Path) -> bool:
    """Say whether a verb has written into a folder."""
    return any((folder / mark).exists() for mark in _MARKS)


def is_training(folder: Path) -> bool:
    """Say whether a verb has trained in a folder, or was about to."""
    return any((folder / mark).exists() for mark in _MARKS if mark != "metrics.json")


def read_training(folder: Path, now: datetime) -> TrainingFacts:
    """Read the folder of a training verb.

    Args:
        folder: As the verb wrote it, in whatever state.
        now: With a time zone; a run's last sign of life is told as seen from then.
    """
    problems: list[str] = []
    recipe = _mapping(
        folder / "recipe.json", problems, absent="has no recipe.json: its configuration is not known"
    )
    summary = _mapping(folder / "run.json", problems)
    attempt = _mapping(folder / "attempt.json", problems)
    records = read_records(folder)
    if not records.curves:
        problems.append("reported nothing yet")
    if records.num_broken:
        problems.append(f"{records.num_broken} rows of its records make no sense and are left out")
    alarms = [_picked(Alarm, row) for row in _rows(folder / "alarms.json", problems)]
    faults = [_picked(FaultyVideo, row) for row in _rows(folder / "faults.json", problems)]
    loops = _loops(folder / "reconstructions", problems)
    signs = Signs(attempt, summary, _rank_failures(folder), _last_sign(folder), bool(records.curves))
    return TrainingFacts(
        folder=folder,
        verb=str(recipe.get("verb") or summary.get("verb") or "training"),
        state=judge_state(signs, now),
        config=_dict(recipe.get("config")),
        changes=tuple(_dict(change) for change in _list(recipe.get("changes"))),
        curves=records.curves,
        num_attempts=records.num_attempts,
        total_steps=_integer(summary.get("steps") or attempt.get("total_steps")),
        baselines=_numbers(summary.get("baselines") or attempt.get("baselines")),
        videos=attempt.get("videos"),
        alarms=tuple(alarm for alarm in alarms if alarm is not None),
        faults=tuple(dict.fromkeys(fault for fault in faults if fault is not None)),
        num_faults=len(faults),
        has_checkpoint=any(folder.glob("checkpoints/*.ckpt")),
        began=str(attempt.get("began") or ""),
        loops=loops,
        problems=tuple(problems),
    )


def read_evaluation(folder: Path) -> EvaluationFacts | str:
    """Read what `videomae evaluate` wrote; a sentence where there is no score to be read."""
    problems: list[str] = []
    metrics = _mapping(folder / "metrics.json", problems, absent="has no metrics.json: there is no score")
    try:
        return EvaluationFacts(
            folder=folder,
            weights=str(metrics["weights"]),
            data=_dict(metrics.get("data")).get("path"),
            selection=str(metrics["selection"]),
            views=str(metrics["views"]),
            top1=float(metrics["top1"]),
            interval=_interval(metrics.get("top1_interval")),
            top5=metrics.get("top5"),
            mean_class=metrics.get("mean_class"),
            num_scored=int(metrics["num_scored"]),
            num_videos=int(metrics["num_videos"]),
            num_recordings=metrics.get("num_recordings"),
            probe=_probe_settings(metrics),
            view_options=_dict(metrics.get("view_options")),
            weights_kind=metrics.get("weights_kind"),
            remarks=str(metrics.get("remarks") or ""),
            classes=_all_picked(ClassRow, metrics.get("classes")),
            confused=tuple(_confused(row) for row in metrics.get("most_confused") or ()),
            confusion_matrix=np.array(metrics.get("confusion_matrix") or np.zeros((0, 0)), np.int64),
            faults=_all_picked(FaultyVideo, metrics.get("faults")),
            predictions=_predictions(folder / "scores.npz", problems),
            problems=tuple(problems),
            fingerprint=_dict(metrics.get("data")).get("fingerprint"),
        )
    except (KeyError, TypeError, ValueError) as error:
        return problems[0] if problems else f"its metrics.json lacks {error}"


def read_verdict(sweep: Path) -> Verdict | str | None:
    """Read the verdict in a sweep's record: None where there is none, a sentence where it cannot be read."""
    problems: list[str] = []
    verdict = _mapping(sweep / "sweep.json", problems).get("verdict")
    if verdict is None:
        return f"{sweep.name}: {problems[0]}" if problems else None
    try:
        return Verdict(str(verdict["words"]), tuple(map(str, verdict["reasons"])))
    except (KeyError, TypeError) as error:
        return f"{sweep.name}: the verdict in its sweep.json lacks {error}"


def recorded_points(sweep: Path) -> Mapping[str, Any]:
    """Give the points that a sweep's record names; empty where there is none."""
    return _dict(_mapping(sweep / "sweep.json", []).get("points"))


def recorded_stages(point: Path) -> Mapping[str, RecordedStage]:
    """Say how the stages stand that a sweep's record names for the point of a folder, by their verbs."""
    record = _mapping(point.parent / "sweep.json", [])
    stages = _dict(_dict(_dict(record.get("points")).get(point.name)).get("stages"))
    written = str(record.get("written") or "")
    process = record.get("process") if record.get("host") == host_name() else None
    is_gone = isinstance(process, int) and not process_is_running(process) and not record.get("arrays")

    def recorded(about: Mapping[str, Any]) -> RecordedStage:
        state = str(about.get("state") or "waiting")
        state = "lost" if state == "running" and is_gone else state
        return RecordedStage(state, str(about.get("reason") or ""), written)

    return {verb: recorded(_dict(about)) for verb, about in stages.items()}


def _probe_settings(metrics: dict[str, Any]) -> dict[str, Any]:
    """Give what a probe without training was asked for, under the keys of its configuration."""
    if metrics.get("probe") is None:
        return {}
    voting = _dict(metrics.get("voting"))
    return {
        "probe": metrics["probe"],
        **{f"knn.{name}": metrics.get(name) for name in ("neighbours", "temperature")},
        **{f"data.{name}": voting.get(name) for name in ("selection", "per_class", "per_class_seed")},
    }


def _interval(ends: Any) -> tuple[float, float]:
    if ends is None:
        return NO_INTERVAL
    low, high = ends
    return float(low), float(high)


def _confused(row: dict[str, Any]) -> ConfusedPair:
    return ConfusedPair(row["label"], row["taken_for"], row["count"], row["share"])


def _predictions(file: Path, problems: list[str]) -> VideoPredictions | None:
    try:
        with np.load(file) as arrays:
            return VideoPredictions(
                tuple(arrays["keys"].tolist()),
                arrays["sample_ids"],
                arrays["labels"],
                arrays["probabilities"],
                tuple(arrays["classes"].tolist()),
            )
    except FileNotFoundError:
        problems.append("has no scores.npz: single videos cannot be shown")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        problems.append(f"its scores.npz cannot be read ({error}): single videos cannot be shown")
    return None


def _rank_failures(folder: Path) -> tuple[str, ...]:
    """Give what ranks of a run of several wrote as the reason of their end, in this attempt."""
    ignored: list[str] = []  # a sign of life that is being written
    began = _changed(folder / "attempt.json") or 0.0
    files = [
        file for file in sorted((folder / "ranks").glob("rank-*.json")) if (_changed(file) or 0.0) >= began
    ]
    beats = [_mapping(file, ignored) for file in files]
    return tuple(f"rank {beat.get('rank')}: {beat['failure']}" for beat in beats if beat.get("failure"))


def _loops(folder: Path, problems: list[str]) -> dict[int, Path]:
    """Find the pictures that move, by their steps; a full disk may have left some of no bytes."""
    files = sorted(folder.glob("step-*[0-9].mp4"))
    empty = [file for file in files if file.stat().st_size == 0]
    if empty:
        problems.append(f"{', '.join(file.name for file in empty)}: nothing in it, and left out")
    return {int(file.stem[5:]): file for file in files if file not in empty}


def _last_sign(folder: Path) -> float | None:
    """Find when something in the folder last changed, in seconds since 1970."""
    times = [_changed(file) for pattern in _SIGNS for file in folder.glob(pattern)]
    return max((time for time in times if time is not None), default=None)


def _changed(file: Path) -> float | None:
    """Give when a file last changed; None where it is gone, as a checkpoint that a running run has just replaced."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return None


def _mapping(file: Path, problems: list[str], absent: str = "") -> dict[str, Any]:
    content = _json(file, problems, absent)
    if content is not None and not isinstance(content, dict):
        problems.append(f"its {file.name} is no JSON object")
    return _dict(content)


def _rows(file: Path, problems: list[str]) -> list[dict[str, Any]]:
    return [row for row in map(_dict, _list(_json(file, problems, ""))) if row]


def _json(file: Path, problems: list[str], absent: str) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if absent:
            problems.append(absent)
    except (OSError, ValueError) as error:
        problems.append(f"its {file.name} cannot be read ({error})")
    return None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _numbers(value: Any) -> dict[str, float]:
    return {name: float(each) for name, each in _dict(value).items() if isinstance(each, int | float)}


def _picked(kind: type[Row], row: dict[str, Any]) -> Row | None:
    """Make a NamedTuple of a JSON object that may hold more; None where it holds less."""
    names: Iterable[str] = kind._fields  # pyright: ignore[reportAttributeAccessIssue]
    return kind(**{name: row[name] for name in names}) if all(name in row for name in names) else None


def _all_picked(kind: type[Row], rows: Any) -> tuple[Row, ...]:
    found = (_picked(kind, _dict(row)) for row in _list(rows))
    return tuple(row for row in found if row is not None)
