"""From typed configuration to objects: the one place where names become things."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytorch_lightning as pl

from videomae_train.config.devices import loader_options
from videomae_train.config.schema import FinetuneConfig, PretrainConfig, TrainingConfig
from videomae_train.config.steps import check_pairs, initial_micro_batch
from videomae_train.data.datamodule import FinetuneDataModule, PretrainDataModule
from videomae_train.data.passed_by import PassedBy
from videomae_train.errors import ConfigError
from videomae_train.evaluation.reconstruction import BaselineLosses, baseline_losses
from videomae_train.model import (
    VideoMAEForPreTraining,
    VideoMAEForVideoClassification,
    WeightsReport,
    classifier_from_pretrained,
    pretraining_from_pretrained,
)
from videomae_train.model.targets import Target
from videomae_train.training.agreement import Agreement
from videomae_train.training.checkpoints import SavingOptions, StepCheckpoint
from videomae_train.training.ledger import Ledger
from videomae_train.training.module import StepOptions, SteppingModule
from videomae_train.training.plan import StepPlan
from videomae_train.training.preemption import StopRequest
from videomae_train.training.profiling import StepProfile
from videomae_train.training.progress import FaultList, StepProgress
from videomae_train.training.records import LEDGER, RecordCut
from videomae_train.training.tasks import ClassificationTask, ReconstructionTask, Task
from videomae_train.training.trainer import build_trainer
from videomae_train.training.watch import RankWatch

DataModule = PretrainDataModule | FinetuneDataModule

PASSED_BY = "passed_by"  # folder of a run, see `data.passed_by`
_BASELINE_VIDEOS = 16


def pretrain_data(config: PretrainConfig) -> PretrainDataModule:
    """Open the packed set; the masks' counts are checked here, before anything expensive."""
    config.masking.counts(config.model.grid)
    return PretrainDataModule(
        config.data,
        loader_options(config.loader, config.trainer.accelerator, config.trainer.devices),
        mask_sampler=config.masking.build(),
        decode_sampler=config.masking.decode.build(),
        grid=config.model.grid,
        seed=config.seed,
        global_batch=config.optim.global_batch,
        micro_batch=initial_micro_batch(config),
        passed_by=PassedBy(config.run / PASSED_BY),
    )


def finetune_data(config: FinetuneConfig) -> FinetuneDataModule:
    """Open the labelled packed set."""
    return FinetuneDataModule(
        config.data,
        loader_options(config.loader, config.trainer.accelerator, config.trainer.devices),
        seed=config.seed,
        global_batch=config.optim.global_batch,
        micro_batch=initial_micro_batch(config),
        passed_by=PassedBy(config.run / PASSED_BY),
        val_clips=config.validation.num_clips,
        val_crops=config.validation.num_crops,
    )


def classifier(
    config: FinetuneConfig, classes: tuple[str, ...]
) -> tuple[VideoMAEForVideoClassification, WeightsReport | None]:
    """Make the classifier, frozen as asked: from weights (with every tensor's fate) or from scratch (with None)."""
    wanted = config.architecture(dict(enumerate(classes)))
    if config.weights is None:
        model, fates = VideoMAEForVideoClassification(wanted), None
    else:
        model, fates = classifier_from_pretrained(config.weights, wanted)
    model.encoder.freeze(config.frozen_blocks)
    return model, fates


def pretraining_model(
    config: PretrainConfig, target: Target | None = None
) -> tuple[VideoMAEForPreTraining, WeightsReport | None]:
    """Make the pretraining model, from weights (with the fate of every tensor) or from scratch (with None).

    Args:
        config: The run's.
        target: What it learns to predict; None means the configuration's pixels.

    Raises:
        ConfigError: Weights to start from, or pictures of pixels, with another target.
    """
    if target is None and config.init is not None:
        return pretraining_from_pretrained(config.init, config.model)
    wrong = {"init": config.init, "watch.reconstruct_every_steps": config.watch.reconstruct_every_steps}
    for key, value in wrong.items():
        if target is not None and value is not None:
            raise ConfigError(
                where=key, came=f"{value} with a target of its own", expected="null: both are of pixels",
                todo="Leave it out.",
            )  # fmt: skip
    return VideoMAEForPreTraining(config.model, target), None


def reconstruction_task(config: PretrainConfig, model: VideoMAEForPreTraining) -> ReconstructionTask:
    """Make the pretraining loss."""
    model.set_grad_checkpointing(config.trainer.activation_checkpointing)
    return ReconstructionTask(model, config.trainer.compile)


def classification_task(config: FinetuneConfig, model: VideoMAEForVideoClassification) -> ClassificationTask:
    """Make the classifier's loss."""
    check_pairs(config)
    model.set_grad_checkpointing(config.trainer.activation_checkpointing)
    return ClassificationTask(model, config.mix, model.config.num_labels, config.trainer.compile)


def module(config: TrainingConfig, task: Task, plan: StepPlan, data: DataModule) -> SteppingModule:
    """Join task, plan and data to what the trainer runs."""
    options = StepOptions(
        seed=config.seed,
        update=config.update,
        log_every_steps=config.trainer.log_every_steps,
        max_fault_ratio=config.max_fault_ratio,
        max_nonfinite_steps=config.trainer.max_nonfinite_steps,
    )
    return SteppingModule(task, plan, config.optim.options, options, on_step=data.advance)


def saving(config: TrainingConfig, stop: StopRequest, may_save: Callable[[], None]) -> StepCheckpoint:
    """Make what writes and reads the run's checkpoints, and heeds signals; `may_save` raises where it must not."""
    machine = config.trainer
    return StepCheckpoint(
        config.run / "checkpoints",
        SavingOptions(
            machine.checkpoint_every_steps, machine.checkpoint_every_minutes, machine.keep_checkpoints
        ),
        Agreement(timeout=timedelta(seconds=2 * machine.rank_timeout_sec)),
        stop,
        may_save=may_save,
    )


def trainer(
    config: TrainingConfig,
    plan: StepPlan,
    title: str,
    saving: StepCheckpoint,
    also: Sequence[pl.Callback] = (),
) -> pl.Trainer:
    """Make the trainer with progress, records, checkpoints and the list of faults; `also` comes before these."""
    return build_trainer(
        config.trainer,
        config.logger,
        run=config.run,
        total_steps=plan.total_steps,
        callbacks=[
            *also,
            StepProgress(title),
            FaultList(config.run / "faults.json"),
            RecordCut(config.run),
            Ledger(
                config.run / LEDGER,
                saving.agreement,
                every_steps=config.trainer.log_every_steps,
                kind=config.trainer.ledger,
            ),
            saving,
            *_watch(config),
            *_profile(config),
        ],
        checkpoint_files=saving.files,
        settings=config.settings(),
    )


def _watch(config: TrainingConfig) -> list[pl.Callback]:
    if config.trainer.world_size == 1:
        return []
    return [RankWatch(config.run / "ranks", timeout_sec=config.trainer.rank_timeout_sec)]


def _profile(config: TrainingConfig) -> list[pl.Callback]:
    steps = config.trainer.profile_steps
    if steps is None:
        return []
    return [StepProfile(config.run / "profile", steps, is_compiled=bool(config.trainer.compile))]


def measure_baselines(data: PretrainDataModule, model: VideoMAEForPreTraining) -> BaselineLosses:
    """Compute what needs no model, on the first videos of the run's order."""
    batch = data.first_videos(_BASELINE_VIDEOS)
    return baseline_losses(model.config, model.target, batch.clips, batch.visible_idx, batch.hidden_idx)
