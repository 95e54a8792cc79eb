import os
from pathlib import Path
from typing import Any

import pytest
import torch

from videomae_train.config import build
from videomae_train.config.loader import compose_config, load_config
from videomae_train.config.schema import FinetuneConfig, PretrainConfig
from videomae_train.config.steps import step_plan
from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining, config_record, sources
from videomae_train.model.official import read_official

SMALL = VideoMAEConfig(
    image_size=32, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=48, decoder_hidden_size=12, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
    decoder_intermediate_size=24,
)  # fmt: skip


@pytest.mark.parametrize(
    ("given", "gpu", "pinned"),
    [
        ("loader.pin_memory=auto", True, True),
        ("loader.pin_memory=auto", False, False),
        ("loader.pin_memory=false", True, False),
        ("trainer.accelerator=cpu", True, False),
    ],
)
def test_batches__are_pinned_where_a_gpu_takes_them(
    given: str, gpu: bool, pinned: bool, packed_motions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(gpu))
    overrides = ["model=tiny", f"data.path={packed_motions}", "run=unused", "optim.global_batch=8", given]
    config = load_config("pretrain", compose_config("pretrain", overrides), PretrainConfig)
    assert build.pretrain_data(config).loader.pin_memory is pinned


def test_weights_in_a_file__are_opened_once_for_their_shape_and_once_to_be_taken(
    packed_motions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    def reading(path: Path, **options: Any) -> object:
        opened.append(path)
        return read_official(path, **options)

    model = VideoMAEForPreTraining(SMALL)
    file = tmp_path / "step.ckpt"
    torch.save({"state_dict": model.state_dict(), "config": config_record(model)}, file)
    monkeypatch.setattr(sources, "read_official", reading)
    words = [f"weights={file}", f"data.path={packed_motions}", "data.stride=2", "run=unused"]
    split = ["data.selection=split/train", "data.val_selection=split/test", "trainer.micro_batch=2"]
    config = load_config("finetune", compose_config("finetune", [*words, *split]), FinetuneConfig)
    data = build.finetune_data(config)
    step_plan(config, len(data.selection))
    build.classifier(config, data.classes)
    assert opened == [file, file]


def test_workers__are_settled_by_the_run_and_not_by_its_recipe(
    packed_motions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(12)), raising=False)
    words = ["model=tiny", f"data.path={packed_motions}", "run=unused", "data.stride=2"]
    machine = [
        "loader.num_workers=auto",
        "trainer.devices=4",
        "trainer.micro_batch=2",
        "optim.global_batch=8",
    ]
    split = ["data.selection=split/train", "data.val_selection=split/test"]
    pretrain = load_config("pretrain", compose_config("pretrain", [*words, *machine]), PretrainConfig)
    finetune = load_config("finetune", compose_config("finetune", [*words, *machine, *split]), FinetuneConfig)
    assert build.pretrain_data(pretrain).loader.num_workers == 3
    assert build.finetune_data(finetune).loader.num_workers == 3
    for config in (pretrain, finetune):
        assert config.given()["loader"]["num_workers"] == "auto"
