"""From `watch` of a configuration to the callbacks that tell whether a run learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytorch_lightning as pl

from videomae_train.config.devices import with_workers
from videomae_train.config.schema import FinetuneConfig, PretrainConfig, TrainingConfig
from videomae_train.data.datamodule import PretrainDataModule
from videomae_train.data.datasets import EvaluationDataset
from videomae_train.data.index import PackedDataset
from videomae_train.data.loader import BatchLoader, evaluation_loader
from videomae_train.data.options import EvaluationDataOptions
from videomae_train.evaluation.reconstruction import BaselineLosses
from videomae_train.randomness import keyed_permutation
from videomae_train.training.alarm_list import AlarmList
from videomae_train.training.alarms import AlarmOptions, Baseline, Expected
from videomae_train.training.probing import OnlineProbe
from videomae_train.training.progress import Baselines
from videomae_train.training.snapshots import Snapshots

_ALARMS = "alarms.json"
_PROBE_BATCH = 8  # whole clips, without gradients


def pretrain_watch(
    config: PretrainConfig, data: PretrainDataModule, baselines: BaselineLosses, total_steps: int
) -> list[pl.Callback]:
    """Make what shows whether a pretraining run of so many steps learns: baselines, probe, pictures, alarms."""
    watch = config.watch
    pictured = total_steps if watch.reconstruct_every_steps == "end" else watch.reconstruct_every_steps
    beside = Baselines({f"baseline/{name}": loss for name, loss in baselines._asdict().items()})
    watching: list[pl.Callback] = [beside, _pretrain_alarms(config, baselines)]
    if watch.probe_every_steps is not None:
        train, test = (
            _probe_videos(config, name) for name in (watch.probe.selection, watch.probe.val_selection)
        )
        watching.append(OnlineProbe(watch.probe_every_steps, train, test))
    if pictured is not None:
        batch = data.first_videos(1)
        title = data.selection.dataset.key(int(batch.sample_ids[0]))
        watching.append(Snapshots(config.run / "reconstructions", pictured, batch, title))
    return watching


def _probe_videos(config: PretrainConfig, selection: str) -> Callable[[], BatchLoader]:
    """Open labelled videos, in every run the same few of a selection; a loader of their middle clips for each probe."""
    probe = config.watch.probe
    assert probe.path is not None
    whole = PackedDataset.open(probe.path, config.loader.storage).select(selection)
    # Not by the run's seed: runs of several seeds are compared by this score.
    few = keyed_permutation(len(whole), 0, "probe", selection)[: probe.videos]
    options = EvaluationDataOptions(
        path=probe.path, selection=selection, num_frames=config.data.num_frames, size=config.data.size,
        windows="middle_strided", stride=probe.stride, frame_interval_sec=None, num_clips=1, num_crops=1,
        antialias=True,
    )  # fmt: skip
    videos = EvaluationDataset(replace(whole, sample_ids=np.sort(whole.sample_ids[few])), options)
    loader = with_workers(config.loader, config.trainer.devices)
    return lambda: evaluation_loader(videos, loader, batch_videos=_PROBE_BATCH)


def _pretrain_alarms(config: PretrainConfig, baselines: BaselineLosses) -> AlarmList:
    grid, watch = config.model.grid, config.watch
    return AlarmList(
        config.run / _ALARMS,
        _expected(
            config,
            watch.alarms,
            Baseline(baselines.predict_mean, watch.baseline_after_steps, watch.baseline_margin),
        ),
        grid=grid,
        num_visible=grid.num_tokens - config.masking.counts(grid)[0],
    )


def finetune_alarms(config: FinetuneConfig) -> AlarmList:
    """Make what says that a fine-tuning run goes wrong."""
    return AlarmList(config.run / _ALARMS, _expected(config, config.watch.alarms, None))


def _expected(config: TrainingConfig, options: AlarmOptions, baseline: Baseline | None) -> Expected:
    return Expected(
        options, config.trainer.precision, config.optim.global_batch, config.max_fault_ratio, baseline
    )
