"""The Lightning trainer of every stage."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger
from pytorch_lightning.strategies import DDPStrategy, Strategy

from videomae_train.errors import ConfigError


@dataclass(frozen=True)
class TrainerOptions:
    """The machine's side of a run.

    Attributes:
        accelerator: Where to compute; auto takes a GPU when there is one.
        devices: Devices of each node.
        num_nodes: Nodes.
        precision: fp32, or bf16 for mixed precision (weights stay float32).
        micro_batch: Videos that one rank takes through the model at once.
        threads: Threads of each rank's CPU operations; null leaves torch's choice.
        log_every_steps: Optimizer steps between two reports.
        checkpoint_every_steps: Optimizer steps between two checkpoints.
        keep_checkpoints: How many of the newest checkpoints to keep.
    """

    accelerator: Literal["auto", "cpu", "gpu"]
    devices: int
    num_nodes: int
    precision: Literal["fp32", "bf16"]
    micro_batch: int
    threads: int | None
    log_every_steps: int
    checkpoint_every_steps: int
    keep_checkpoints: int

    @property
    def world_size(self) -> int:
        """Ranks of the run."""
        return self.devices * self.num_nodes


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
    settings: dict[str, Any],
) -> pl.Trainer:
    """Make a trainer that ends after `total_steps` optimizer steps.

    Args:
        options: The machine.
        wandb: Recording.
        run: The run's folder; logs go below it.
        total_steps: Optimizer steps of the whole run, over all attempts.
        callbacks: What happens beside the steps.
        settings: The resolved configuration as a plain mapping, recorded with the run.
    """
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    loggers = _build_loggers(wandb, run)
    for logger in loggers:
        logger.log_hyperparams(settings)
    _quieten_lightning()
    return pl.Trainer(
        accelerator=_accelerator(options),
        devices=options.devices,
        num_nodes=options.num_nodes,
        strategy=_build_strategy(options),
        precision={"fp32": "32-true", "bf16": "bf16-mixed"}[options.precision],  # pyright: ignore[reportArgumentType]
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


def _quieten_lightning() -> None:
    """Leave out Lightning's remarks on hardware, on its own checkpoints and on validation, none of which we use."""
    for library in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(library).setLevel(logging.ERROR)
    for message in (
        "isinstance.treespec",
        "You passed in a `val_dataloader`",
        "The 'train_dataloader' does not have",
    ):
        warnings.filterwarnings("ignore", message=f".*{message}")


def _accelerator(options: TrainerOptions) -> str:
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


def _build_strategy(options: TrainerOptions) -> Strategy | str:
    if options.world_size == 1:
        return "auto"
    # The key bias is a buffer that never changes and the tables are the same everywhere: nothing to broadcast.
    return DDPStrategy(gradient_as_bucket_view=True)


def _build_loggers(wandb: WandbOptions, run: Path) -> list[Logger]:
    # CSVLogger numbers its folders, so that every attempt of a resumed run has a file of its own.
    loggers: list[Logger] = [CSVLogger(save_dir=run, name="logs")]
    if wandb.mode != "disabled":
        loggers.append(
            WandbLogger(
                name=wandb.name or run.name,
                project=wandb.project,
                save_dir=run,
                offline=wandb.mode == "offline",
            )
        )
    return loggers
