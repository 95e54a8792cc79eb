"""Studies as they lie in a folder, with scores that are made up."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from videomae_train.benchmarks.study import ASKED, SCRATCH

CLEAR = {ASKED: (0.80, 0.81, 0.82), SCRATCH: (0.50, 0.52, 0.51), "frame 0.9": (0.79, 0.83, 0.80)}
WORSE = {ASKED: (0.50, 0.52, 0.51), SCRATCH: (0.80, 0.81, 0.82)}
CLOSE = {ASKED: (0.60, 0.70, 0.50), SCRATCH: (0.55, 0.60, 0.65)}
GUESSING = {ASKED: (0.50, 0.51, 0.50), SCRATCH: (0.30, 0.32, 0.30)}  # half of the videos are of one class
DATA = "/somewhere/of/this/machine"
NUM_VIDEOS = 200  # half of them of one class, a quarter of each of two others
LABELS = np.repeat([0, 1, 0, 2], NUM_VIDEOS // 4)
# As UCF101 names its clips, five of each recording; or each its own.
OF_RECORDINGS = [f"v_Punch_g{number // 5:02}_c{number % 5:02}" for number in range(NUM_VIDEOS)]
ALONE = [f"motion-{number}" for number in range(NUM_VIDEOS)]
Masks = dict[str, tuple[float | None, ...]]


def write_study(
    out: Path, budget: str, labels: dict[str, Masks], name: str = "motions", changes: tuple[str, ...] = (),
    keys: Sequence[str] = ALONE,
) -> Path:  # fmt: skip
    """Write what a study's sweep leaves, as far as it is read; a better network is right where a worse one is, too."""
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
                if top1 is not None:
                    write_scores(sweep / point / "evaluate", top1, keys)
    (sweep / "sweep.json").write_text(json.dumps({"points": points, "runs": {}}))
    (sweep / "study.json").write_text(
        json.dumps({"set": name, "budget": budget, "data": DATA, "changes": changes})
    )
    return sweep


def write_scores(folder: Path, top1: float, keys: Sequence[str]) -> None:
    """Write what was said of every video: of so large a share of them, the first ones, the right class."""
    said = np.where(np.arange(NUM_VIDEOS) < round(top1 * NUM_VIDEOS), LABELS, (LABELS + 1) % 3)
    probabilities = np.eye(3, dtype=np.float32)[said]
    ids = np.arange(NUM_VIDEOS)
    np.savez(folder / "scores.npz", keys=keys, sample_ids=ids, labels=LABELS, probabilities=probabilities)
