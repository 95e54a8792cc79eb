from dataclasses import replace

import pytest
import torch

from videomae_train.config.devices import loader_options, pick_device, say_device
from videomae_train.data.options import LoaderOptions
from videomae_train.errors import ConfigError

LOADER = LoaderOptions(num_workers=0, prefetch_batches=2, pin_memory="auto", decode_timeout_sec=60.0)


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


def test_score__of_a_driver_that_is_too_old_does_what_training_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match="driver"):
        pick_device("gpu")
    say_device("auto", pick_device("auto"))
    assert (
        "Computing on the CPU (accelerator=auto, 1 GPU(s) visible, none of which" in capsys.readouterr().err
    )
    assert loader_options(replace(LOADER, pin_memory="auto"), "auto").pin_memory is False
