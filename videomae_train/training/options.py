"""What a configuration can say about training; values are in configs/trainer, configs/logger and the primary files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from videomae_train.errors import ConfigError, check_number
from videomae_train.evaluation.number_format import PrecisionName
from videomae_train.training.precision import Float32Matmul

# The modes with CUDA graphs are left out: they reuse the memory of a loss before it is reported.
CompileMode = bool | Literal["max-autotune-no-cudagraphs"]
LedgerKind = Literal["hash", "ids"]


@dataclass(frozen=True)
class TrainerOptions:
    """The machine's side of a run.

    Attributes:
        accelerator: Where to compute; auto takes a GPU when there is one.
        devices: Devices of each node.
        num_nodes: Nodes.
        precision: fp32, or bf16 or fp16 for mixed precision (weights stay float32).
        float32_matmul: What matrix products of float32 may be computed in: highest float32 itself, high TF32 where a
            GPU has it, medium bfloat16.
        micro_batch: Videos that one rank takes through the model at once; auto searches, on a GPU, for the largest.
        activation_checkpointing: Compute each block's activations again in the backward pass instead of keeping them.
        compile: Compile model and loss as one graph: false, true, or a mode of torch.compile.
        max_nonfinite_steps: Steps in a row without a finite loss and gradient past which the run stops.
        threads: Threads of each rank's CPU operations; null leaves torch's choice.
        log_every_steps: Optimizer steps between two reports.
        checkpoint_every_steps: Optimizer steps between two checkpoints; null leaves it to the clock.
        checkpoint_every_minutes: Minutes since the last checkpoint after which the next step writes one too; null does
            not look at the clock.
        keep_checkpoints: How many of the newest checkpoints to keep.
        ledger: What the run's ledger holds of each step's samples: hash, or ids, which are longer.
        profile_steps: Optimizer steps of which a trace is written, past the first few of an attempt; null for none.
        rank_timeout_sec: Seconds without progress after which a run of several ranks ends with the name of the rank
            that is behind; longer than the slowest checkpoint or compilation.
    """

    accelerator: Literal["auto", "cpu", "gpu"]
    devices: int
    num_nodes: int
    precision: PrecisionName
    float32_matmul: Float32Matmul
    micro_batch: int | Literal["auto"]
    activation_checkpointing: bool
    compile: CompileMode
    max_nonfinite_steps: int
    threads: int | None
    log_every_steps: int
    checkpoint_every_steps: int | None
    checkpoint_every_minutes: float | None
    keep_checkpoints: int
    ledger: LedgerKind
    profile_steps: int | None
    rank_timeout_sec: float

    @property
    def world_size(self) -> int:
        """Ranks of the run."""
        return self.devices * self.num_nodes

    def __post_init__(self) -> None:
        """Refuse counts and times that are none, and a search where running out of memory ends the process.

        Whether auto finds a GPU, `accelerator.resolve_accelerator` says where the run is: this may be a login node.

        Raises:
            ConfigError: A number is out of range, `micro_batch` is auto on the CPU, or checkpoints are never due.
        """
        for name, (least, such_as) in _COUNTS.items():
            check_number(f"trainer.{name}", getattr(self, name), least=least, such_as=such_as)
        for name, such_as in _TIMES.items():
            check_number(f"trainer.{name}", getattr(self, name), above=0, such_as=such_as)
        if self.micro_batch != "auto":
            check_number("trainer.micro_batch", self.micro_batch, least=1, such_as=8)
        elif self.accelerator == "cpu":
            raise search_on_cpu()
        if self.checkpoint_every_steps is None and self.checkpoint_every_minutes is None:
            raise ConfigError(
                where="trainer.checkpoint_every_steps, trainer.checkpoint_every_minutes",
                came="null for both, with which a run that is killed begins anew",
                expected="steps, minutes or both",
                todo="Set trainer.checkpoint_every_minutes=15 or so.",
            )


# Fields of TrainerOptions: the least that makes sense, and a usual value.
_COUNTS = {
    "devices": (1, 1),
    "num_nodes": (1, 1),
    "max_nonfinite_steps": (0, 20),
    "threads": (1, 4),
    "log_every_steps": (1, 20),
    "checkpoint_every_steps": (1, 500),
    "keep_checkpoints": (1, 2),
    "profile_steps": (1, 3),
}
_TIMES = {"checkpoint_every_minutes": 30, "rank_timeout_sec": 600}


def search_on_cpu() -> ConfigError:
    """Say why there is no search for a micro-batch on a CPU."""
    return ConfigError(
        where="trainer.micro_batch",
        came="auto on a CPU",
        expected="a number: a CPU does not say that memory is short, the system ends the process",
        todo="Set trainer.micro_batch=8 or so, or take a GPU.",
    )


@dataclass(frozen=True)
class WandbOptions:
    """Weights & Biases, beside the CSV file that every run writes.

    Attributes:
        mode: disabled, offline (no account or network needed; `wandb sync` later), or online.
        project: Project that the run appears in.
        name: Display name; null takes the run folder's.
        entity: Team or user that it belongs to; null leaves that to the login.
        group: Runs that are shown together; null for none.
        tags: Words to find it by.
    """

    mode: Literal["disabled", "offline", "online"]
    project: str
    name: str | None
    # configs/logger gives these too; recipe.json of a run that began before there were any does not.
    entity: str | None = None
    group: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class MixOptions:
    """Mixing of clips and labels (published: mixup 0.8, cutmix 1, label smoothing 0.1).

    Attributes:
        mixup_alpha: Beta parameter of mixup; 0 turns it off.
        cutmix_alpha: Beta parameter of cutmix; 0 turns it off. With both on, each batch takes one, at even odds.
        label_smoothing: Share of the label's mass spread over all classes, in [0, 1).

    Raises:
        ConfigError: A value is out of its range.
    """

    mixup_alpha: float
    cutmix_alpha: float
    label_smoothing: float

    def __post_init__(self) -> None:
        """Refuse what would switch mixing off without saying so, or leave nothing of a label."""
        for name, value in (("mixup_alpha", self.mixup_alpha), ("cutmix_alpha", self.cutmix_alpha)):
            if not (value >= 0 and math.isfinite(value)):
                raise _out_of_range(name, value, "0, which switches it off, or a number above 0")
        if not 0 <= self.label_smoothing < 1:
            raise _out_of_range("label_smoothing", self.label_smoothing, "a share from 0 to less than 1")

    @property
    def mixes(self) -> bool:
        """Whether clips are mixed at all."""
        return self.mixup_alpha > 0 or self.cutmix_alpha > 0


def _out_of_range(name: str, value: float, expected: str) -> ConfigError:
    return ConfigError(
        where=f"mix.{name}", came=str(value), expected=expected, todo=f"Correct mix.{name} (see configs/finetune.yaml)."
    )  # fmt: skip


@dataclass(frozen=True)
class ValidationOptions:
    """When the videos of `data.val_selection` are scored, and by which views; the last step always is.

    Attributes:
        every_epochs: Passes over the training videos between two validations, or
        every_steps: optimizer steps between them; exactly one of the two.
        num_clips: Clips of each video; one is from the middle, more are those of the test.
        num_crops: Crops of each clip.

    Raises:
        ConfigError: A number below 1 or 0, or both intervals, or none.
    """

    every_epochs: float | None
    every_steps: int | None
    num_clips: int
    num_crops: int

    def __post_init__(self) -> None:
        """Check what one field alone cannot show."""
        given = [every for every in (self.every_epochs, self.every_steps) if every is not None]
        if len(given) != 1 or not (given[0] > 0 and math.isfinite(given[0])):
            raise ConfigError(
                where="validation.every_epochs, validation.every_steps",
                came=f"{self.every_epochs} and {self.every_steps}",
                expected="exactly one of the two, above 0",
                todo="Set the other one to null; data.val_selection=null turns validation off.",
            )
        check_number("validation.num_clips", self.num_clips, least=1, such_as=1)
        check_number("validation.num_crops", self.num_crops, least=1, such_as=1)

    def steps_between(self, num_videos: int, global_batch: int) -> Fraction:
        """Give the optimizer steps from one validation to the next, exactly: an epoch may end within a step."""
        if self.every_steps is not None:
            return Fraction(self.every_steps)
        assert self.every_epochs is not None
        return Fraction(self.every_epochs) * num_videos / global_batch


@dataclass(frozen=True)
class ProbeOptions:
    """The labelled set of an online probe; one clip from the middle of each video.

    Attributes:
        path: Folder or URL of a labelled packed set; null for none.
        selection: The videos to learn from, such as "split1/train".
        val_selection: The videos to classify, such as "split1/test".
        stride: Frames of the video from one frame of the clip to the next.
        videos: The most to take of each selection, always the same ones.

    Raises:
        ConfigError: `stride` or `videos` is below 1.
    """

    path: str | Path | None
    selection: str
    val_selection: str
    stride: int
    videos: int

    def __post_init__(self) -> None:
        """Refuse a clip that stands still, and no videos."""
        check_number("watch.probe.stride", self.stride, least=1, such_as=4)
        check_number("watch.probe.videos", self.videos, least=1, such_as=200)
