"""The Lightning trainer of every stage."""

from __future__ import annotations

import inspect
import logging
import os
import secrets
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger
from pytorch_lightning.plugins import CheckpointIO
from pytorch_lightning.strategies import DDPStrategy, Strategy
from pytorch_lightning.utilities import rank_zero_only

from videomae_train.errors import ConfigError
from videomae_train.training.ledger import LedgerKind
from videomae_train.training.precision import Float32Matmul, PrecisionName
from videomae_train.training.preemption import leave_signals_to_us
from videomae_train.training.ranks import rank_environment
from videomae_train.training.tasks import CompileMode


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
        checkpoint_every_steps: Optimizer steps between two checkpoints.
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
    checkpoint_every_steps: int
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
        """Refuse a micro-batch that is none, or a search where running out of memory ends the process.

        Raises:
            ConfigError: `micro_batch` is below 1, or auto where the run would compute on the CPU.
        """
        if self.micro_batch == "auto":
            if resolve_accelerator(self) == "cpu":
                raise ConfigError(
                    where="trainer.micro_batch",
                    came="auto on a CPU",
                    expected="a number: a CPU does not say that memory is short, the system ends the process",
                    todo="Set trainer.micro_batch=8 or so, or take a GPU.",
                )
        elif self.micro_batch < 1:
            raise ConfigError(
                where="trainer.micro_batch",
                came=str(self.micro_batch),
                expected="at least 1 video",
                todo="Set trainer.micro_batch=8 or so.",
            )
        if self.profile_steps is not None and self.profile_steps < 1:
            raise ConfigError(
                where="trainer.profile_steps",
                came=str(self.profile_steps),
                expected="at least 1 step, or null",
                todo="Set trainer.profile_steps=3 or so.",
            )


@dataclass(frozen=True)
class WandbOptions:
    """Weights & Biases, beside the CSV file that every run writes.

    Attributes:
        mode: disabled, offline (no account or network needed; `wandb sync` later), or online.
        project: Project that the run appears in.
        name: Display name; null takes the run folder's.
    """

    mode: Literal["disabled", "offline", "online"]
    project: str
    name: str | None


def build_trainer(
    options: TrainerOptions,
    wandb: WandbOptions,
    *,
    run: Path,
    total_steps: int,
    callbacks: Sequence[pl.Callback],
    checkpoint_files: CheckpointIO,
    settings: dict[str, Any],
) -> pl.Trainer:
    """Make a trainer that ends after `total_steps` optimizer steps.

    Args:
        options: The machine.
        wandb: Recording.
        run: The run's folder; logs go below it.
        total_steps: Optimizer steps of the whole run, over all attempts.
        callbacks: What happens beside the steps.
        checkpoint_files: Reads and writes checkpoints.
        settings: The resolved configuration as a plain mapping, recorded with the run.
    """
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    loggers = build_loggers(wandb, run)
    for logger in loggers:
        logger.log_hyperparams(settings)
    torch.set_float32_matmul_precision(options.float32_matmul)
    _quieten_lightning()
    trainer = pl.Trainer(
        accelerator=resolve_accelerator(options),
        devices=options.devices,
        num_nodes=options.num_nodes,
        strategy=build_strategy(options),
        plugins=[
            rank_environment(devices=options.devices, num_nodes=options.num_nodes),
            checkpoint_files,
        ],
        precision="32-true",  # mixed precision is `Precision`'s, inside the step
        max_steps=total_steps,
        logger=loggers,
        callbacks=list(callbacks),
        default_root_dir=run,
        use_distributed_sampler=False,  # our own order already gives every rank its share
        enable_checkpointing=False,  # StepCheckpoint writes at step boundaries only
        enable_progress_bar=False,  # StepProgress counts optimizer steps
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
    )
    leave_signals_to_us(trainer)
    return trainer


def _quieten_lightning() -> None:
    """Leave out Lightning's remarks on hardware, and on its own checkpoints, which we do not use."""
    for library in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(library).setLevel(logging.ERROR)
    for message in (
        "isinstance.treespec",
        "The 'train_dataloader' does not have",
        r"Found \d+ module\(s\) in eval mode",  # frozen ones
        "The `srun` command is available",  # rank_environment decides on that
    ):
        warnings.filterwarnings("ignore", message=f".*{message}")


def resolve_accelerator(options: TrainerOptions) -> Literal["cpu", "gpu"]:
    """Say where a run computes on this machine.

    Raises:
        ConfigError: More GPUs are asked for than there are.
    """
    available = torch.cuda.device_count()
    if options.accelerator == "gpu" and available < options.devices:
        raise ConfigError(
            where="trainer.devices",
            came=f"{options.devices} GPU(s) asked for, {available} visible",
            expected="no more than are visible",
            todo="Lower trainer.devices, set CUDA_VISIBLE_DEVICES, or take trainer=cpu.",
        )
    if options.accelerator == "auto":
        return "gpu" if available >= options.devices else "cpu"
    return options.accelerator


def build_strategy(options: TrainerOptions, start: Literal["popen", "fork"] = "popen") -> Strategy | str:
    """Choose how ranks work together.

    DDP without its static graph: PyTorch (2.15) ends in an assertion of its own where the first backward pass is one of
    several of a step; and it orders its buckets late, so that steps after resuming differ (see `order_buckets`).

    Args:
        options: The machine.
        start: How Lightning starts ranks, where torchrun or Slurm have not: by the command line again, or, for tests,
            by a fork.
    """
    if options.world_size == 1:
        return "auto"
    # The rank watch ends a run that stands still after rank_timeout_sec, and says why; collectives must outlast it.
    timeout = timedelta(seconds=2 * options.rank_timeout_sec)
    return DDPStrategy(
        gradient_as_bucket_view=True, start_method=start, timeout=timeout, **_without_buffers()
    )


def _without_buffers() -> dict[str, Any]:
    """Spare every forward pass a broadcast of the buffers: position tables and zero biases, the same everywhere."""
    parameters = inspect.signature(torch.nn.parallel.DistributedDataParallel).parameters
    # Renamed in torch 2.13.
    name = "forward_sync_buffers" if "forward_sync_buffers" in parameters else "broadcast_buffers"
    return {name: False}


def build_loggers(wandb: WandbOptions, run: Path) -> list[Logger]:
    """Make what records a run: a CSV file, and Weights & Biases unless it is disabled."""
    # CSVLogger numbers its folders, so that every attempt of a resumed run has a file of its own.
    loggers: list[Logger] = [CSVLogger(save_dir=run, name="logs")]
    if wandb.mode != "disabled":
        loggers.append(
            WandbLogger(
                name=wandb.name or run.name,
                project=wandb.project,
                save_dir=run,
                offline=wandb.mode == "offline",
                version=_wandb_run_id(run),
            )
        )
    return loggers


def _wandb_run_id(run: Path) -> str | None:
    """Find the id under which Weights & Biases knows a run, so that all its attempts are one run there.

    The agent of a sweep of theirs has named its trial before it starts it. Only rank 0 records anything.
    """
    if rank_zero_only.rank != 0:  # pyright: ignore[reportFunctionMemberAccess]
        return None
    file = run / "wandb_run_id.txt"
    if not file.exists():
        run.mkdir(parents=True, exist_ok=True)
        trial = os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None
        file.write_text(f"{trial or secrets.token_hex(4)}\n")
    return file.read_text().strip()
