"""Folders as runs leave them, without running anything; `tests/commands/test_report_command.py` reads real ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

NOW = datetime(2020, 1, 2, 12, 0, tzinfo=UTC)  # before every file that a test writes
CLASSES = ("jump", "run", "sit")
ATTEMPT = {
    "began": "2020-01-02T11:00:00+00:00", "ended": None, "host": "elsewhere", "process": 1, "total_steps": 4,
    "baselines": {}, "stopped_by": None, "failure": None,
}  # fmt: skip


def write_json(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def pretrain_config(kind: str = "tube", ratio: float = 0.9, seed: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "seed": seed,
        "run": f"/runs/{kind}-{ratio}-{seed}",
        "masking": {"name": kind, "ratio": ratio, "decode": {"name": "all"}},
        "data": {"path": "/sets/motions", "views": 2, "stride": 2},
        "optim": {"global_batch": 8, "base_lr": 0.1},
        "trainer": {"threads": 1},
        **more,
    }


def write_training(
    run: Path,
    verb: str = "pretrain",
    config: Mapping[str, Any] | None = None,
    losses: Sequence[float] = (1.0, 0.9, 0.8, 0.7),
    *,
    finished: bool = True,
    attempt: Mapping[str, Any] | None = None,
) -> Path:
    """Write a run that reported these losses at steps 1, 2, ..., 10 views/s and half a GiB."""
    write_json(run / "recipe.json", {"verb": verb, "config": config or pretrain_config(), "changes": []})
    write_metrics(run, losses)
    if finished:
        end = {"latest": {"train/loss": losses[-1]}, "baselines": {"predict_mean": 0.99}}
        write_json(
            run / "run.json", {"verb": verb, "steps": len(losses), "seconds": 5.0, "num_faults": 0, **end}
        )
    if attempt is not None:
        write_json(run / "attempt.json", {**ATTEMPT, **attempt})
    return run


def write_metrics(
    run: Path, losses: Sequence[float], *, first: int = 1, attempt: int = 0, end: str = ""
) -> None:
    rows = [f"{step},{loss},0.001,2.0,10.0,0.5" for step, loss in enumerate(losses, start=first)]
    head = "step,train/loss,train/lr,train/grad_norm,train/views_per_sec,train/memory_gib"
    file = run / "logs" / f"version_{attempt}" / "metrics.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join([head, *rows, ""]) + end)


def write_evaluation(
    run: Path,
    weights: Path | str = "/gone/weights",
    *,
    wrong: int = 2,
    data: str | None = None,
    fingerprint: str | None = None,
    **more: Any,
) -> Path:
    """Write a score on ten videos of which the first so many are taken for the next class; one more was unreadable.

    `more` goes into metrics.json, over what stands there else.
    """
    num_videos, count = 10, len(CLASSES)
    labels = np.arange(num_videos) % count
    given = np.where(np.arange(num_videos) < wrong, (labels + 1) % count, labels)
    probabilities = np.full((num_videos, count), 0.1, np.float32)
    probabilities[np.arange(num_videos), given] = 0.8 - 0.01 * np.arange(num_videos)
    probabilities[np.arange(num_videos), labels] += 0.01 * (1 + np.arange(num_videos)) * (given != labels)
    matrix = np.bincount(labels * count + given, minlength=count**2).reshape(count, count)
    run.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        run / "scores.npz", keys=np.array([f"video{n}" for n in range(num_videos)]), classes=np.array(CLASSES),
        sample_ids=np.arange(num_videos), labels=labels, probabilities=probabilities,
    )  # fmt: skip
    top1 = 1 - wrong / num_videos
    write_json(
        run / "metrics.json",
        {
            "weights": str(weights), "data": data and {"path": data, "fingerprint": fingerprint},
            "selection": "split1/test", "views": "5 x 3",
            "top1": top1, "top5": None, "mean_class": top1,
            "top1_interval": [max(0.0, top1 - 0.2), min(1.0, top1 + 0.2)], "mean_class_interval": [0.0, 1.0],
            "num_scored": num_videos, "num_videos": num_videos + 1,
            "classes": [
                {"name": name, "num_videos": int(matrix[k].sum()), "recall": 0.5, "precision": None}
                for k, name in enumerate(CLASSES)
            ],
            "most_confused": [
                {"label": CLASSES[row], "taken_for": CLASSES[column], "count": int(matrix[row, column]), "share": 0.25}
                for row in range(count) for column in range(count) if row != column and matrix[row, column]
            ],
            "confusion_matrix": matrix.tolist(),
            "faults": [
                {"key": "broken", "shard": "shard-000000.tar", "sample_id": 10, "position": -1, "cause": "truncated",
                 "detail": "no moov"}
            ],
            **more,
        },
    )  # fmt: skip
    return run


def write_point(folder: Path, kind: str, ratio: float, seed: int, *, wrong: int = 2) -> Path:
    """Write a whole point: pretraining, fine-tuning, score."""
    write_training(folder / "pretrain", "pretrain", pretrain_config(kind, ratio, seed))
    config = {
        "seed": seed,
        "weights": "/elsewhere/weights",
        "optim": {"global_batch": 8},
        "data": {"views": 1},
    }
    write_training(folder / "finetune", "finetune", config, (1.1, 1.0))
    write_evaluation(folder / "evaluate", wrong=wrong)
    return folder


def write_record(sweep: Path, points: Mapping[str, Mapping[str, str]], written: str = "") -> None:
    """Write sweep.json: point -> stage -> its state, and behind a colon the reason."""
    about = {
        name: {
            "stages": {
                verb: dict(zip(("state", "reason"), (*words.split(": ", 1), ""), strict=False))
                for verb, words in stages.items()
            }
        }
        for name, stages in points.items()
    }
    write_json(sweep / "sweep.json", {"points": about, "written": written})


def write_knn(run: Path, *, neighbours: int = 20, per_class: int | None = None, seed: int = 0) -> Path:
    """Write a score as a probe that trains nothing does."""
    write_evaluation(run)
    metrics = json.loads((run / "metrics.json").read_text())
    voting = {"selection": "split1/train", "per_class": per_class, "per_class_seed": seed, "num_videos": 9}
    knn = {"probe": "knn", "neighbours": neighbours, "temperature": 0.07, "voting": voting}
    write_json(run / "metrics.json", {**metrics, **knn})
    return run
