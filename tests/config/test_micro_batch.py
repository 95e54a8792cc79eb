"""The search for the micro-batch as configuration makes it: what it tries has the shapes of what is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from videomae_train.config import build, micro_batch
from videomae_train.config.loader import compose_config, load_config
from videomae_train.config.schema import FinetuneConfig, PretrainConfig
from videomae_train.config.steps import check_pairs, sizes_to_try, step_plan
from videomae_train.data.loader import collate_labeled, collate_pretrain
from videomae_train.errors import ConfigError
from videomae_train.training.batch_search import MicroBatchSearch

SMALL = [
    "model=tiny", "model.image_size=32", "model.num_frames=4", "optim.global_batch=4", "data.stride=2",
    "loader.num_workers=0", "trainer=gpu", "trainer.micro_batch=auto", "data.views=1", "run=somewhere",
]  # fmt: skip
CPU = torch.device("cpu")


def shapes(batch: Any) -> dict[str, tuple[torch.Size, torch.dtype, tuple[int, ...]] | None]:
    """What decides about memory: of every part, and which parts there are."""
    parts = {name: part for name, part in batch._asdict().items() if name != "faults"}
    return {name: None if x is None else (x.shape, x.dtype, x.stride()) for name, x in parts.items()}


def test_pretraining__tries_what_it_trains(packed_motions: Path) -> None:
    mapping = compose_config("pretrain", [*SMALL, f"data.path={packed_motions}", "data.views=2"])
    config = load_config("pretrain", mapping, PretrainConfig)
    data = build.pretrain_data(config)
    assert data.stream.micro_batch == 1
    model, _ = build.pretraining_model(config)
    plan = step_plan(config, len(data.selection))
    module = build.module(config, build.reconstruction_task(config, model), plan, data)
    (search,) = micro_batch.micro_batch_search(config, module, data)
    assert isinstance(search, MicroBatchSearch)
    real = collate_pretrain([data.dataset[place] for place in range(2)])
    tried = micro_batch._batch_to_try(config, 2, CPU)
    assert shapes(tried) == shapes(real)
    assert search._sizes == (1, 2, 4)
    assert search._fits(2, CPU)
    search._use(2)
    assert (module.plan.micro_batch, module.plan.accumulation, data.stream.micro_batch) == (2, 2, 2)


@pytest.mark.parametrize("resampling", ["uint8_antialias", "float_no_antialias"])
@pytest.mark.parametrize("erase", [0, 0.25])
def test_finetuning__tries_what_it_trains_in_pairs_where_it_mixes(
    packed_motions: Path, resampling: str, erase: float
) -> None:
    """The published crop has clips four times as large, and erasing makes another copy of them."""
    split = ["data.selection=split/train", "data.val_selection=split/test"]
    augmented = [f"data.crop_resampling={resampling}", f"data.erase_probability={erase}"]
    mapping = compose_config("finetune", [*SMALL, *split, *augmented, f"data.path={packed_motions}"])
    config = load_config("finetune", mapping, FinetuneConfig)
    data = build.finetune_data(config)
    assert data.stream.micro_batch == 2
    model, _ = build.classifier(config, data.selection.dataset.classes)
    plan = step_plan(config, len(data.selection))
    module = build.module(config, build.classification_task(config, model), plan, data)
    (search,) = micro_batch.micro_batch_search(config, module, data)
    assert isinstance(search, MicroBatchSearch)
    assert shapes(micro_batch._batch_to_try(config, 2, CPU)) == shapes(
        collate_labeled([data.dataset[place] for place in range(2)])
    )
    assert search._sizes == (2, 4)
    assert search._fits(2, CPU)


def test_a_number__searches_nothing(packed_motions: Path) -> None:
    mapping = compose_config("pretrain", [*SMALL, "trainer.micro_batch=2", f"data.path={packed_motions}"])
    config = load_config("pretrain", mapping, PretrainConfig)
    assert micro_batch.micro_batch_search(config, None, None) == []  # type: ignore[arg-type]


def test_search__with_crops_on_the_device__is_refused() -> None:
    """It would try clips of the model's size, and then whole videos lie there."""
    words = ["model=tiny", "data.path=nowhere", "run=r", "trainer.micro_batch=auto", "data.crop_on=device"]
    config = load_config("pretrain", compose_config("pretrain", words), PretrainConfig)
    with pytest.raises(ConfigError, match=r"data\.crop_on=cpu"):
        sizes_to_try(config)


def test_mixing__wants_another_video_beside_each() -> None:
    """Two views of one video share their label: mixing them would mix nothing, and say nothing."""
    mixing = ["model=tiny", "data.path=nowhere", "run=r", "mix.mixup_alpha=0.8", "optim.global_batch=8"]

    def config(*words: str) -> FinetuneConfig:
        return load_config("finetune", compose_config("finetune", [*mixing, *words]), FinetuneConfig)

    with pytest.raises(ConfigError, match="two videos or more"):
        check_pairs(config("trainer.micro_batch=1", "data.views=2"))
    check_pairs(config("trainer.micro_batch=3", "data.views=2"))
    searched = config("trainer.micro_batch=auto", "data.views=2")
    assert sizes_to_try(searched)[0] == 2
    check_pairs(searched)
