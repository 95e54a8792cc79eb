from pathlib import Path

import pytest
import torch

from videomae_train.config import build
from videomae_train.config.loader import compose_config, load_config
from videomae_train.config.schema import PretrainConfig


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
