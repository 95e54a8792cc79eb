"""Where a run or a score computes: one answer to which GPUs there are, and what they can do."""

from __future__ import annotations

import warnings
from typing import Literal, NamedTuple

import torch

from videomae_train.errors import ConfigError
from videomae_train.evaluation.number_format import PrecisionName
from videomae_train.training.options import TrainerOptions, search_on_cpu

Kind = Literal["cpu", "gpu"]

_BF16_CAPABILITY = (8, 0)


class Gpus(NamedTuple):
    """This machine's GPUs.

    Attributes:
        visible: Those that the driver shows this process.
        usable: Those that this torch can compute on: as many, or none where the driver is too old for it.
    """

    visible: int
    usable: int

    @property
    def remark(self) -> str:
        """Say how many there are, and of what use."""
        if self.usable == self.visible:
            return f"{self.visible} GPU(s) visible" if self.visible else "no GPU is visible"
        return f"{self.visible} GPU(s) visible, none of which torch {torch.__version__} can use"


def find_gpus() -> Gpus:
    """Count the GPUs; torch's own warning of an old driver is left out, for our words."""
    visible = torch.cuda.device_count()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Gpus(visible, visible if torch.cuda.is_available() else 0)


def choose_kind(accelerator: str, devices: int, gpus: Gpus, keys: str = "") -> Kind:
    """Take GPUs where they are asked for, or where there are some and nothing else is asked for.

    Args:
        accelerator: auto, cpu or gpu.
        devices: How many on this node.
        gpus: Those that there are.
        keys: What the names of the two settings begin with, such as "trainer.".

    Raises:
        ConfigError: There are not as many as are to be taken, or they cannot be used.
    """
    if accelerator == "cpu" or (accelerator == "auto" and gpus.usable == 0):
        return "cpu"
    if gpus.usable < gpus.visible:
        raise ConfigError(
            where=f"{keys}accelerator",
            came=f"gpu, with {gpus.remark}",
            expected=f"a driver that is new enough for CUDA {torch.version.cuda}",
            todo=f"Update the driver, install a torch built for an older CUDA, or set {keys}accelerator=cpu.",
        )
    if gpus.usable < devices:
        raise ConfigError(
            where=f"{keys}devices",
            came=f"{devices} GPU(s) asked for, {gpus.usable} visible",
            expected="no more than are visible",
            todo=f"Lower {keys}devices, set CUDA_VISIBLE_DEVICES, or set {keys}accelerator=cpu.",
        )
    return "gpu"


def check_precision(precision: PrecisionName, capability: tuple[int, int]) -> None:
    """Refuse bf16 on a GPU that has no instructions for it: torch emulates them, and says nothing.

    Args:
        precision: The run's.
        capability: Compute capability of the GPU, major and minor.

    Raises:
        ConfigError: The GPU is of before Ampere (8.0).
    """
    if precision == "bf16" and capability < _BF16_CAPABILITY:
        raise ConfigError(
            where="trainer.precision",
            came=f"bf16 on a GPU of compute capability {capability[0]}.{capability[1]}",
            expected="8.0 or above: GPUs below emulate bf16, slowly",
            todo="Take trainer.precision=fp16.",
        )


def resolve_accelerator(options: TrainerOptions) -> Kind:
    """Say where a run computes on this machine.

    Raises:
        ConfigError: It cannot, as it is asked to.
    """
    kind = choose_kind(options.accelerator, options.devices, find_gpus(), "trainer.")
    if kind == "gpu":
        for device in range(options.devices):
            check_precision(options.precision, torch.cuda.get_device_capability(device))
    elif options.micro_batch == "auto":
        raise search_on_cpu()
    return kind


def device_words(accelerator: str, kind: Kind, gpus: Gpus, keys: str = "") -> list[str]:
    """Say where auto computes; nothing where the configuration has said it already."""
    if accelerator != "auto":
        return []
    return [f"Computing on the {kind.upper()} ({keys}accelerator=auto, {gpus.remark})"]


def speed_words(options: TrainerOptions, kind: Kind) -> list[str]:
    """Say what a GPU was built to do faster: float32 without TF32 leaves its matrix units idle."""
    if kind == "cpu" or options.precision != "fp32" or options.float32_matmul != "highest":
        return []
    return [
        "fp32 without TF32 leaves the GPU's matrix units idle: trainer=gpu computes in"
        " bf16, in larger micro-batches; trainer.float32_matmul=high takes TF32"
    ]
