"""The Lightning trainer of every stage."""

from __future__ import annotations

import inspect
import logging
import os
import secrets
import warnings
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger
from pytorch_lightning.plugins import CheckpointIO
from pytorch_lightning.strategies import DDPStrategy, Strategy

from videomae_train.child_ranks import watch_child_ranks
from videomae_train.training.accelerator import resolve_accelerator
from videomae_train.training.options import TrainerOptions, WandbOptions
from videomae_train.training.ranks import rank_environment
from videomae_train.training.starters import global_rank


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


def leave_signals_to_us(trainer: pl.Trainer) -> None:
    """Keep Lightning from handling signals in its own way.

    Its SIGTERM handler broadcasts from inside the handler, which hangs when ranks are signalled at different moments;
    and to learn of it, every micro-batch broadcasts a flag and waits for the GPU to read it.
    """
    trainer._signal_connector = _NoSignals()  # type: ignore[assignment]  # pyright: ignore
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # pyright: ignore[reportPrivateUsage]


class _NoSignals:
    """Stands where Lightning's signal connector was."""

    received_sigterm = False

    def register_signal_handlers(self) -> None:
        pass

    def teardown(self) -> None:
        pass


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
    watch_child_ranks()
    # The rank watch ends a run that stands still after rank_timeout_sec, and says why; collectives must outlast it.
    timeout = timedelta(seconds=2 * options.rank_timeout_sec)
    return DDPStrategy(
        gradient_as_bucket_view=True, start_method=start, timeout=timeout, **_without_buffers()
    )


def _without_buffers() -> dict[str, Any]:
    """Spare every forward pass a broadcast of the buffers: position tables and zero biases, the same everywhere.

    The running figures of a probe's batch norm are not; `share_buffers` sees to them.
    """
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
                entity=wandb.entity,
                group=wandb.group,
                tags=list(wandb.tags) or None,
            )
        )
    return loggers


def end_wandb_run(trainer: pl.Trainer) -> None:
    """End the run of Weights & Biases that a training began: the next of this process would record into it.

    One that was there before the training is its owner's. A process that ends ends its run with its exit code.
    """
    ids = {logger.version for logger in trainer.loggers if isinstance(logger, WandbLogger)}
    if not ids or global_rank() != 0:
        return
    import wandb

    if wandb.run is not None and wandb.run.id in ids:
        wandb.finish()


def _wandb_run_id(run: Path) -> str | None:
    """Find the id under which Weights & Biases knows a run, so that all its attempts are one run there.

    The agent of a sweep of theirs has named its trial before it starts it. Only rank 0 records anything.
    """
    if global_rank() != 0:
        return None
    file = run / "wandb_run_id.txt"
    if not file.exists():
        run.mkdir(parents=True, exist_ok=True)
        trial = os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None
        file.write_text(f"{trial or secrets.token_hex(4)}\n")
    return file.read_text().strip()
