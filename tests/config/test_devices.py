import pytest
import torch

from videomae_train.config.devices import pick_device
from videomae_train.errors import ConfigError


@pytest.mark.parametrize(
    ("asked", "devices", "visible", "kind"),
    [
        ("auto", 1, 1, "cuda"),
        ("auto", 2, 0, "cpu"),
        ("auto", 1, 0, "cpu"),
        ("cpu", 1, 4, "cpu"),
        ("gpu", 2, 2, "cuda"),
    ],
)
def test_device__is_a_gpu_where_there_are_some(
    asked: str, devices: int, visible: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: visible > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    assert pick_device(asked, devices).type == kind


@pytest.mark.parametrize("asked", ["auto", "gpu"])
def test_more_gpus_than_there_are__are_refused(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not computed on the processor instead: four devices were meant to be four GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match="2 GPU"):
        pick_device(asked, 2)
