from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from videomae_train.config import build
from videomae_train.config.crops import crop_words
from videomae_train.config.loader import compose_config, load_config
from videomae_train.config.schema import FinetuneConfig, PretrainConfig

SMALL = ["model=tiny", "optim.global_batch=4", "trainer.micro_batch=2", "data.stride=2", "run=somewhere"]
CLIP = 8 * 32 * 32 * 3  # bytes of a video's frames, of eight


def pretraining(path: Path, *words: str) -> build.DataModule:
    mapping = compose_config("pretrain", [*SMALL, f"data.path={path}", *words])
    return build.pretrain_data(load_config("pretrain", mapping, PretrainConfig))


def finetuning(path: Path, *words: str) -> build.DataModule:
    split = ["data.selection=split/train", "data.val_selection=split/test"]
    mapping = compose_config("finetune", [*SMALL, *split, f"data.path={path}", *words])
    return build.finetune_data(load_config("finetune", mapping, FinetuneConfig))


@pytest.mark.parametrize(
    ("make", "words", "copies"),
    [
        ("pretraining", ["data.views=1"], 1),
        ("pretraining", ["data.views=2"], 1),
        ("pretraining", ["data.views=2", "data.view_jitter_frames=1"], 2),
        ("finetuning", ["data.views=2"], 2),
        ("finetuning", ["data.views=2", "data.randaugment=null"], 1),
    ],
)
def test_whole_frames__that_are_much_are_said(
    make: str, words: list[str], copies: int, packed_motions: Path
) -> None:
    data = globals()[make](packed_motions, "data.crop_on=device", *words)
    views = cast("int", data.options.views)
    most = 2 * CLIP * (copies + 4 * views)
    (line,) = crop_words(data, much=most - 1)
    assert "32 x 32" in line
    assert crop_words(data, much=most) == []
    assert crop_words(data) == []


def test_clips_cut_by_the_workers__are_as_large_as_the_model_takes_them(packed_motions: Path) -> None:
    assert crop_words(pretraining(packed_motions), much=0) == []
