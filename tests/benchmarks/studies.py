"""Studies as they lie in a folder, with scores that are made up."""

import json
from pathlib import Path

import numpy as np

from videomae_train.benchmarks.study import ASKED, SCRATCH

CLEAR = {ASKED: (0.80, 0.81, 0.82), SCRATCH: (0.50, 0.52, 0.51), "frame 0.9": (0.79, 0.83, 0.80)}
WORSE = {ASKED: (0.50, 0.52, 0.51), SCRATCH: (0.80, 0.81, 0.82)}
CLOSE = {ASKED: (0.60, 0.70, 0.50), SCRATCH: (0.55, 0.60, 0.65)}
GUESSING = {ASKED: (0.50, 0.51, 0.50), SCRATCH: (0.30, 0.32, 0.30)}  # half of the videos are of one class
DATA = "/somewhere/of/this/machine"
Masks = dict[str, tuple[float | None, ...]]


def write_study(
    out: Path, budget: str, labels: dict[str, Masks], name: str = "motions", changes: tuple[str, ...] = ()
) -> Path:
    """Write what a study's sweep leaves, as far as it is read."""
    sweep = out / budget / name
    points: dict[str, object] = {}
    for per_class, masks in labels.items():
        for mask, scores in masks.items():
            for seed, top1 in enumerate(scores):
                kind, _, ratio = mask.partition(" ")
                of_mask = (
                    ["pretrain=null"] if mask == SCRATCH else [f"masking={kind}", f"masking.ratio={ratio}"]
                )
                overrides = [*of_mask, f"seed={seed}", f"finetune.data.per_class={per_class}"]
                point = f"{mask.replace(' ', '-')}+{per_class}+{seed}"
                points[point] = {
                    "overrides": overrides,
                    "score": None if top1 is None else {"top1": top1},
                    "stages": {"evaluate": {"run": f"{point}/evaluate"}},
                }
                (sweep / point / "evaluate").mkdir(parents=True)
                (sweep / point / "evaluate" / "metrics.json").write_text("{}")
    np.savez(sweep / point / "evaluate" / "scores.npz", labels=np.array([0, 0, 1, 2]))
    (sweep / "sweep.json").write_text(json.dumps({"points": points, "runs": {}}))
    (sweep / "study.json").write_text(
        json.dumps({"set": name, "budget": budget, "data": DATA, "changes": changes})
    )
    return sweep
