"""Options of tiny clips and a mask sampler, for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from videomae_train.data.options import (
    EvaluationDataOptions,
    FinetuneDataOptions,
    LoaderOptions,
    PretrainDataOptions,
)
from videomae_train.types import PatchGrid

GRID = PatchGrid(t=2, h=2, w=2)


def hide_most(grid: PatchGrid, rng: np.random.Generator) -> np.ndarray:
    """Hide three quarters of the tokens at random."""
    mask = np.zeros(grid.num_tokens, bool)
    mask[rng.permutation(grid.num_tokens)[: grid.num_tokens * 3 // 4]] = True
    return mask


def decode_all(mask: np.ndarray, grid: PatchGrid, rng: np.random.Generator) -> np.ndarray:
    """Reconstruct every hidden token."""
    return np.flatnonzero(mask)


def decode_half(mask: np.ndarray, grid: PatchGrid, rng: np.random.Generator) -> np.ndarray:
    """Reconstruct a random half of the hidden tokens."""
    return np.sort(rng.permutation(np.flatnonzero(mask))[: mask.sum() // 2])


def pretrain_options(path: Path | None, **changes: object) -> PretrainDataOptions:
    values: dict[str, object] = {
        "selection": "split/train",
        "num_frames": 4,
        "stride": 2,
        "frame_interval_sec": None,
        "sets": None,
        "size": 32,
        "views": 2,
        "view_jitter_frames": 0,
        "crop": "multi_scale_corner",
        "flip": False,
        "crop_on": "cpu",
        "shuffle_window_videos": 24,
    }
    return PretrainDataOptions(path=path, **{**values, **changes})


def finetune_options(path: Path, **changes: object) -> FinetuneDataOptions:
    values: dict[str, object] = {
        "selection": "split/train",
        "val_selection": "split/test",
        "per_class": None,
        "per_class_seed": 0,
        "num_frames": 4,
        "windows": "dense",
        "stride": 2,
        "frame_interval_sec": None,
        "size": 32,
        "views": 2,
        "view_jitter_frames": 0,
        "crop": "random_resized",
        "crop_resampling": "uint8_antialias",
        "crop_on": "cpu",
        "flip": True,
        "randaugment": "rand-m7-n4-mstd0.5-inc1",
        "erase_probability": 0.0,
        "shuffle_window_videos": 24,
    }
    return FinetuneDataOptions(path=path, **{**values, **changes})


def evaluation_options(path: Path, **changes: object) -> EvaluationDataOptions:
    values: dict[str, object] = {
        "selection": "split/test",
        "num_frames": 4,
        "windows": "spread",
        "stride": 2,
        "frame_interval_sec": None,
        "size": 32,
        "num_clips": 2,
        "num_crops": 3,
        "antialias": True,
    }
    return EvaluationDataOptions(path=path, **{**values, **changes})


def loader_options(num_workers: int = 0, decode_timeout_sec: float = 60.0) -> LoaderOptions:
    return LoaderOptions(
        num_workers=num_workers,
        prefetch_batches=2,
        pin_memory=False,
        decode_timeout_sec=decode_timeout_sec,
    )
