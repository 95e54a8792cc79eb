"""What each verb does, from a typed configuration to files in the run's folder; each reads from top to bottom."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only

from videomae_train.config import build
from videomae_train.config.cards import classifier_card, pretraining_card
from videomae_train.config.schema import EvaluateConfig, FinetuneConfig, PretrainConfig, TrainingConfig
from videomae_train.errors import ConfigError
from videomae_train.evaluation.ranks import Ranks
from videomae_train.evaluation.scoring import Accuracy, VideoScores, measure_accuracy, score_videos
from videomae_train.model import load_classifier, save_weights_folder
from videomae_train.training.checkpoints import newest_checkpoint
from videomae_train.training.module import SteppingModule
from videomae_train.training.tasks import TrainedModel


@dataclass(frozen=True)
class TrainOutcome:
    """What a training verb left behind.

    Attributes:
        weights: The weights folder.
        steps: Optimizer steps of the run, over all attempts.
        seconds: Wall-clock seconds of this attempt.
        latest: The last report: train/loss and its companions; empty where this attempt had nothing left to do.
        baselines: Losses that need no model, for pretraining: predict_mean, copy_nearest.
    """

    weights: Path
    steps: int
    seconds: float
    latest: Mapping[str, float]
    baselines: Mapping[str, float]


def pretrain(config: PretrainConfig) -> TrainOutcome:
    """Pretrain by masked reconstruction and write the weights folder.

    Raises:
        ConfigError: The request was wrong.
        VideoMAETrainError: The run failed.
    """
    _claim(config.run, config.resume)
    data = build.pretrain_data(config)
    plan = build.step_plan(config, len(data.selection))
    _seed_initial_weights(config.seed)
    task = build.reconstruction_task(config)
    module = build.module(config, task, plan, data)
    baselines = build.measure_baselines(data, task.model)._asdict()
    card = pretraining_card(
        config, plan, num_videos=len(data.selection), fingerprint=data.selection.fingerprint
    )
    return _fit(config, task.model, module, data, baselines, title="pretrain", card=card)


def finetune(config: FinetuneConfig) -> TrainOutcome:
    """Fine-tune pretrained weights, or train from scratch, and write the weights folder.

    Raises:
        ConfigError: The request was wrong.
        CheckpointError: The weights do not fit.
        VideoMAETrainError: The run failed.
    """
    _claim(config.run, config.resume)
    data = build.finetune_data(config)
    plan = build.step_plan(config, len(data.selection))
    _seed_initial_weights(config.seed)
    model, fates = build.classifier(config, data.classes)
    if fates is not None and rank_zero_only.rank == 0:  # pyright: ignore[reportFunctionMemberAccess]
        (config.run / "weights_report.txt").write_text(f"{fates.table()}\n")
    module = build.module(config, build.classification_task(config, model), plan, data)
    card = classifier_card(
        config, plan, num_videos=len(data.selection), fingerprint=data.selection.fingerprint
    )
    return _fit(config, model, module, data, {}, title="finetune", card=card)


def evaluate(config: EvaluateConfig) -> Accuracy | None:
    """Score a fine-tuned classifier and write scores.npz and metrics.json.

    Returns:
        None on ranks other than the first.

    Raises:
        ConfigError: The classes of model and data differ, or nothing is selected.
        VideoMAETrainError: Nothing could be scored.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    ranks = Ranks(build.pick_device(config.accelerator), devices=config.devices, num_nodes=config.num_nodes)
    model = load_classifier(config.weights)

    def one_rank(rank: int, world: int, device: torch.device) -> VideoScores:
        batches = build.evaluation(config, model.config, rank=rank, world=world)
        return score_videos(model.to(device), batches, device)

    scores = ranks.score(one_rank)
    if scores is None:
        return None
    accuracy = measure_accuracy(scores)
    config.run.mkdir(parents=True, exist_ok=True)
    build.save_scores(config, scores, accuracy)
    return accuracy


def _claim(run: Path, resume: str) -> None:
    """Take a run's folder: a new one, or the same one again on request."""
    if rank_zero_only.rank != 0:  # pyright: ignore[reportFunctionMemberAccess]
        return  # rank 0 has taken it for all
    if resume == "never" and (run / "checkpoints").is_dir():
        raise ConfigError(
            where="run",
            came=f"{run}, which holds a run already",
            expected="a new folder",
            todo="Add resume=auto to go on with that run, or give another run=<folder>.",
        )
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)


def _seed_initial_weights(seed: int) -> None:
    torch.manual_seed(seed)


def _fit(
    config: TrainingConfig,
    model: TrainedModel,
    module: SteppingModule,
    data: pl.LightningDataModule,
    baselines: Mapping[str, float],
    *,
    title: str,
    card: str,
) -> TrainOutcome:
    began = time.perf_counter()
    trainer = build.trainer(config, module.plan, title)
    checkpoint = newest_checkpoint(config.run / "checkpoints") if config.resume == "auto" else None
    trainer.fit(module, data, ckpt_path=checkpoint)
    outcome = TrainOutcome(
        config.run / "weights", module.step, time.perf_counter() - began, dict(module.latest), baselines
    )
    if trainer.is_global_zero:
        save_weights_folder(model, outcome.weights, card=card)
        _write_summary(config.run, title, outcome, len(module.faults))
    trainer.strategy.barrier("weights saved")
    return outcome


def _write_summary(run: Path, verb: str, outcome: TrainOutcome, num_faults: int) -> None:
    summary = {
        "verb": verb,
        "steps": outcome.steps,
        "seconds": round(outcome.seconds, 1),
        "num_faults": num_faults,
        "latest": dict(outcome.latest),
        "baselines": dict(outcome.baselines),
    }
    (run / "run.json").write_text(json.dumps(summary, indent=1) + "\n")
