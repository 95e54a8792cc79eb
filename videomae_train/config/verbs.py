"""What each verb does, from a typed configuration to files in the run's folder; each reads from top to bottom."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import pytorch_lightning as pl
import torch

from videomae_train.config import build, watching
from videomae_train.config.attempts import recorded_attempt
from videomae_train.config.cards import classifier_card, pretraining_card
from videomae_train.config.crops import crop_words
from videomae_train.config.micro_batch import micro_batch_search
from videomae_train.config.outcome import TrainOutcome, finished_outcome, has_ended, write_outcome
from videomae_train.config.recipe import RECORD, RunRecord, check_unchanged, read_record, record_run
from videomae_train.config.schema import FinetuneConfig, PretrainConfig, TrainingConfig
from videomae_train.config.steps import step_plan
from videomae_train.config.validation import finetune_validation
from videomae_train.errors import CheckpointError, ConfigError, DecodeError, TrainingError
from videomae_train.evaluation.memory import naming_full_memory
from videomae_train.model import WeightsReport, save_weights_folder
from videomae_train.model.targets import Target
from videomae_train.training.accelerator import (
    device_words,
    find_gpus,
    resolve_accelerator,
    speed_words,
)
from videomae_train.training.checkpoint_files import newest_checkpoint, tidy_checkpoints
from videomae_train.training.checkpoints import StepCheckpoint
from videomae_train.training.folder_lock import FolderLock
from videomae_train.training.module import SteppingModule
from videomae_train.training.options import TrainerOptions
from videomae_train.training.preemption import StopRequest
from videomae_train.training.requeue import requeue_job
from videomae_train.training.starters import global_rank
from videomae_train.training.tasks import TrainedModel
from videomae_train.training.trainer import end_wandb_run

_LESS_MEMORY = (
    "Lower trainer.micro_batch (auto finds the largest), or set trainer.activation_checkpointing=true; of a validation"
    " validation.num_clips and num_crops. Then start the same command again with resume=auto."
)
_MOST_PASSED_BY = 10
_DISK_FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


def pretrain(config: PretrainConfig, target: Target | None = None) -> TrainOutcome:
    """Pretrain by masked reconstruction and write the weights folder.

    SIGTERM, SIGUSR1, SIGUSR2 and Ctrl-C end the run after the step, with a checkpoint and without weights.

    Args:
        config: What to train.
        target: What is predicted of hidden patches; None means the pixels that the configuration asks for.

    Raises:
        ConfigError: The request was wrong.
        VideoMAETrainError: The run failed.
    """
    with StopRequest() as stop, _claimed(config, "pretrain", stop) as lock:
        data = build.pretrain_data(config)
        plan = step_plan(config, len(data.selection))
        if (finished := finished_outcome(config, plan.total_steps)) is not None:
            return finished
        _say_where(config.trainer)
        _seed_initial_weights(config.seed)
        model, fates = build.pretraining_model(config, target)
        _write_weights_report(config.run, fates)
        module = build.module(config, build.reconstruction_task(config, model), plan, data)
        baselines = build.measure_baselines(data, model)
        watchers = watching.pretrain_watch(config, data, baselines, plan.total_steps)
        card = pretraining_card(
            config, plan, num_videos=len(data.selection), fingerprint=data.selection.fingerprint
        )
        saving = build.saving(config, stop, lock.check)
        return _fit(
            config, model, module, data, saving, baselines._asdict(), watchers, title="pretrain", card=card
        )


def finetune(config: FinetuneConfig, verb: Literal["finetune", "probe"] = "finetune") -> TrainOutcome:
    """Fine-tune pretrained weights, or train from scratch, and write the weights folder.

    Signals end it as they end `pretrain`.

    Args:
        config: What to train.
        verb: What the run is recorded as; a probe that trains is a fine-tuning of a head on a frozen encoder.

    Raises:
        ConfigError: The request was wrong.
        CheckpointError: The weights do not fit.
        VideoMAETrainError: The run failed.
    """
    with StopRequest() as stop, _claimed(config, verb, stop) as lock:
        data = build.finetune_data(config)
        plan = step_plan(config, len(data.selection))
        if (finished := finished_outcome(config, plan.total_steps)) is not None:
            return finished
        _say_where(config.trainer)
        _seed_initial_weights(config.seed)
        model, fates = build.classifier(config, data.classes)
        _write_weights_report(config.run, fates)
        module = build.module(config, build.classification_task(config, model), plan, data)
        card = classifier_card(
            config, plan, num_videos=len(data.selection), fingerprint=data.selection.fingerprint
        )
        watchers = [
            watching.finetune_alarms(config),
            *finetune_validation(config, data, model, plan, stop),
        ]
        saving = build.saving(config, stop, lock.check)
        return _fit(config, model, module, data, saving, {}, watchers, title=verb, card=card)


@contextmanager
def _claimed(config: TrainingConfig, verb: str, stop: StopRequest) -> Generator[FolderLock]:
    """Take a run's folder, a new one or the same one again on request and with the same recipe, and keep others out.

    What this machine cannot do is refused before, but for a run that may have nothing left to do.
    """
    if not has_ended(config.run):
        resolve_accelerator(config.trainer)
    record = _record_to_go_on_with(config)
    if record is not None:
        check_unchanged(config, verb, record)
    lock = FolderLock(config.run, is_asked_to_stop=lambda: stop.number != 0)
    if global_rank() != 0:
        with _started_again_without_a_bad_video(config):
            yield lock  # rank 0 takes it for all
        return
    with lock:
        _make_ready(config)
        with _started_again_without_a_bad_video(config):
            yield lock


def _say_where(options: TrainerOptions) -> None:
    kind = resolve_accelerator(options)
    words = device_words(options.accelerator, kind, find_gpus(), "trainer.")
    _say([*words, *speed_words(options, kind)])


def _say(lines: Sequence[str]) -> None:
    if global_rank() == 0:
        for line in lines:
            print(line, file=sys.stderr)


def _make_ready(config: TrainingConfig) -> None:
    checkpoints = config.run / "checkpoints"
    # Not by its folder, which a request that was refused later has left behind.
    is_taken = newest_checkpoint(checkpoints) is not None or (config.run / RECORD).exists()
    if config.resume == "never" and is_taken:
        raise ConfigError(
            where="run",
            came=f"{config.run}, which holds a run already",
            expected="a new folder",
            todo="Add resume=auto to go on with that run, or give another run=<folder>.",
        )
    if newest_checkpoint(checkpoints) is None and (damaged := sorted(checkpoints.glob("*.damaged"))):
        raise CheckpointError(
            where=str(checkpoints), came=f"no intact checkpoint; damaged: {', '.join(each.name for each in damaged)}",
            expected="one to go on with, rather than a beginning at step 0 over what the run recorded",
            todo="Copy intact ones there, with their .sha256, or give another run=<folder>.",
        )  # fmt: skip
    checkpoints.mkdir(parents=True, exist_ok=True)
    tidy_checkpoints(checkpoints)


def _record_to_go_on_with(config: TrainingConfig) -> RunRecord | None:
    return read_record(config.run) if _resumed_from(config) is not None else None


def _write_weights_report(run: Path, fates: WeightsReport | None) -> None:
    """Keep the fate of every tensor of the weights that a run starts from."""
    if fates is not None and global_rank() == 0:
        (run / "weights_report.txt").write_text(f"{fates.table()}\n")


def _seed_initial_weights(seed: int) -> None:
    torch.manual_seed(seed)


def _fit(
    config: PretrainConfig | FinetuneConfig,
    model: TrainedModel,
    module: SteppingModule,
    data: build.DataModule,
    saving: StepCheckpoint,
    baselines: Mapping[str, float],
    watchers: Sequence[pl.Callback],
    *,
    title: str,
    card: str,
) -> TrainOutcome:
    began = time.perf_counter()
    _say(crop_words(data))
    also = [*micro_batch_search(config, module, data), *watchers]
    before = _record_to_go_on_with(config)
    if before is not None and global_rank() == 0:
        also.append(_RecordOnceResumed(config, title, before))
    trainer = build.trainer(config, module.plan, title, saving, also)
    if before is None and global_rank() == 0:
        record_run(config, title, None, 0)  # only now, when the request has proved good
    total_steps, videos = module.plan.total_steps, data.selection.fingerprint
    with (
        recorded_attempt(config.run, total_steps=total_steps, baselines=baselines, videos=videos) as attempt,
        _naming_disk_failures(config.run),
    ):
        with naming_full_memory(_LESS_MEMORY):
            trainer.fit(module, data, ckpt_path=_resumed_from(config))
        attempt.stopped_by = saving.stopped_by
    outcome = TrainOutcome(
        config.run / "weights",
        module.step,
        time.perf_counter() - began,
        {**module.latest, **module.validation},
        baselines,
        first_step=module.first_step,
    )
    if saving.stopped_by is not None:
        return replace(outcome, preempted_by=saving.stopped_by)

    def leave_weights() -> None:
        with module.averaged_weights():
            save_weights_folder(model, outcome.weights, card=card)
        write_outcome(config.run, title, outcome, len(module.faults))

    with _naming_disk_failures(config.run):
        saving.agreement.by_first(leave_weights)
    end_wandb_run(trainer)
    return outcome


@contextmanager
def _started_again_without_a_bad_video(config: TrainingConfig) -> Generator[None]:
    """Give a Slurm job back that a video has ended, hanging or crashing its decoder: the next start passes that by.

    Past so many videos something else is wrong, and somebody has to look.
    """
    listed = config.run / build.PASSED_BY
    before = len(list(listed.glob("*.json")))
    try:
        yield
    except DecodeError:
        is_new = before < len(list(listed.glob("*.json"))) <= _MOST_PASSED_BY
        if is_new and config.resume == "auto" and (job := requeue_job()) is not None:
            print(f"Slurm starts job {job} again, which passes this video by.", file=sys.stderr)
        raise


class _RecordOnceResumed(pl.Callback):
    """Writes recipe.json anew once the checkpoint has taken the request: one that it refuses leaves the old record."""

    def __init__(self, config: TrainingConfig, verb: str, before: RunRecord) -> None:
        self._write = partial(record_run, config, verb, before)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, SteppingModule)
        self._write(pl_module.step)


@contextmanager
def _naming_disk_failures(run: Path) -> Generator[None]:
    """Turn the failure of a disk, wherever in the run it comes up, into an error that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_FAILURES:
            raise
        newest = newest_checkpoint(run / "checkpoints")
        raise TrainingError(
            where=str(error.filename or run),
            came=error.strerror or str(error),
            expected="a disk that takes the run's records",
            todo=f"Make room there, then start the same command again with resume=auto; newest checkpoint: {newest}.",
        ) from error


def _resumed_from(config: TrainingConfig) -> Path | None:
    """Return the folder of the checkpoints, of which rank 0 will choose one for all; None for a new beginning."""
    checkpoints = config.run / "checkpoints"
    return checkpoints if config.resume == "auto" and newest_checkpoint(checkpoints) else None
