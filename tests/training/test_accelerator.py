"""Where a run computes: what is refused, and what is said, on machines that this one is not."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
from stepping import machine

from videomae_train.errors import ConfigError
from videomae_train.evaluation.number_format import PrecisionName
from videomae_train.training import accelerator
from videomae_train.training.accelerator import (
    Gpus,
    check_precision,
    choose_kind,
    device_words,
    find_gpus,
    resolve_accelerator,
    speed_words,
)

OLD_DRIVER = Gpus(visible=2, usable=0)


def on(monkeypatch: pytest.MonkeyPatch, gpus: Gpus, capability: tuple[int, int] = (8, 0)) -> None:
    monkeypatch.setattr(accelerator, "find_gpus", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)


@pytest.mark.parametrize("usable", [True, False])
def test_gpus__that_torch_cannot_use_are_seen_and_not_used(
    usable: bool, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    def is_available() -> bool:
        if not usable:
            warnings.warn("CUDA initialization: The NVIDIA driver is too old", stacklevel=1)
        return usable

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    assert find_gpus() == Gpus(2, 2 if usable else 0)
    assert not recwarn.list


def test_driver_that_is_too_old__is_an_error_where_a_gpu_is_asked_for() -> None:
    with pytest.raises(
        ConfigError, match=r"trainer\.accelerator: gpu, with 2 GPU\(s\) visible, none .* driver"
    ):
        choose_kind("gpu", 1, OLD_DRIVER, "trainer.")


def test_driver_that_is_too_old__leaves_auto_the_cpu_and_is_said() -> None:
    assert choose_kind("auto", 1, OLD_DRIVER) == "cpu"
    (words,) = device_words("auto", "cpu", OLD_DRIVER)
    assert "Computing on the CPU" in words
    assert "2 GPU(s) visible, none of which" in words


@pytest.mark.parametrize("asked", ["cpu", "gpu"])
def test_device__is_not_said_where_it_was_given(asked: str) -> None:
    assert device_words(asked, "cpu", Gpus(1, 1)) == []


@pytest.mark.parametrize("asked", ["auto", "gpu"])
@pytest.mark.parametrize(
    ("precision", "float32_matmul", "is_slow"),
    [
        ("fp32", "highest", True),
        ("fp32", "high", False),
        ("bf16", "highest", False),
        ("fp16", "highest", False),
    ],
)
def test_fp32_on_a_gpu__is_said_to_be_slow(
    asked: str, precision: str, float32_matmul: str, is_slow: bool
) -> None:
    options = replace(
        machine(1), accelerator=asked, precision=precision, float32_matmul=float32_matmul  # type: ignore[arg-type]
    )  # fmt: skip
    assert bool(speed_words(options, "gpu")) == is_slow
    assert "".join(speed_words(options, "gpu")).count("trainer=gpu computes in bf16") == is_slow
    assert speed_words(options, "cpu") == []


@pytest.mark.parametrize("capability", [(7, 0), (7, 5), (8, 0), (8, 9), (9, 0), (12, 0)])
def test_bf16__wants_a_gpu_that_has_it(capability: tuple[int, int]) -> None:
    for other in ("fp32", "fp16"):
        check_precision(other, capability)
    if capability >= (8, 0):
        check_precision("bf16", capability)
    else:
        with pytest.raises(ConfigError, match=rf"{capability[0]}\.{capability[1]}.*trainer\.precision=fp16"):
            check_precision("bf16", capability)


@pytest.mark.parametrize(("precision", "runs"), [("bf16", False), ("fp16", True)])
def test_run__is_refused_where_its_gpu_has_no_bf16(
    precision: PrecisionName, runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, Gpus(1, 1), capability=(7, 5))
    options = replace(machine(1), accelerator="auto", precision=precision)
    if runs:
        assert resolve_accelerator(options) == "gpu"
    else:
        with pytest.raises(ConfigError, match="bf16"):
            resolve_accelerator(options)
    on(monkeypatch, Gpus(0, 0))
    assert resolve_accelerator(options) == "cpu"


def test_search__is_refused_by_the_run_and_not_by_a_login_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options are made there, too, of a command that Slurm takes to a node with GPUs."""
    on(monkeypatch, Gpus(0, 0))
    for asked in ("auto", "gpu"):
        options = replace(machine(8), accelerator=asked, micro_batch="auto")  # type: ignore[arg-type]
        with pytest.raises(ConfigError):
            resolve_accelerator(options)
    with pytest.raises(ConfigError, match=r"trainer\.micro_batch: auto on a CPU"):
        replace(machine(8), micro_batch="auto")
    on(monkeypatch, Gpus(8, 8))
    for asked in ("auto", "gpu"):
        assert resolve_accelerator(replace(options, accelerator=asked)) == "gpu"  # type: ignore[arg-type]
