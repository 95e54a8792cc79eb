"""One pretraining command for `videomae bench run`: its parts, ready to be run for a while."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from videomae_train.benchmarks.loader import clip_stages, decode_window
from videomae_train.benchmarks.straightforward import StageSeconds
from videomae_train.benchmarks.whole_run import Clock, HeldBatch, bare_seconds, bare_step, loader_seconds
from videomae_train.config import build, watching
from videomae_train.config.devices import with_workers
from videomae_train.config.loader import compose_config, load_config
from videomae_train.config.schema import PretrainConfig
from videomae_train.config.steps import step_plan
from videomae_train.data.encoding import Reencoding, reencode
from videomae_train.training.accelerator import resolve_accelerator
from videomae_train.training.checkpoints import SavingOptions, StepCheckpoint
from videomae_train.training.progress import StepProgress
from videomae_train.types import PretrainBatch

_STAGE_VIDEOS = 16
_ENDLESS = 10**9
_CROP_ROOM = 8 / 7  # a short side of 256 for clips of 224


def bench_config(overrides: Sequence[str]) -> PretrainConfig:
    """Read a pretraining command; raises what the command would."""
    # Records go to files of the run alone, unless the command says otherwise.
    given = ["logger=disabled", "run=unused", *overrides]
    return load_config("pretrain", compose_config("pretrain", given), PretrainConfig)


class MeasuredSetting:
    """The command on one rank, with steps of so many micro-batches; its run is as real as `videomae pretrain`'s.

    Args:
        overrides: The command.
        folder: For runs.
        micro_batches: Of a step.
    """

    def __init__(self, overrides: Sequence[str], folder: Path, *, micro_batches: int) -> None:
        self._overrides, self._folder = overrides, folder
        self.micro_batches = micro_batches
        size = bench_config(overrides).trainer.micro_batch
        assert isinstance(size, int), "a search was refused"
        self.micro_batch = size
        self.config = self._load()
        self.device = torch.device("cuda" if resolve_accelerator(self.config.trainer) == "gpu" else "cpu")
        self._open()

    def _load(self) -> PretrainConfig:
        run = self._folder / f"steps-of-{self.micro_batches}"
        asked = bench_config(self._overrides)
        own = [
            f"loader.num_workers={with_workers(asked.loader, asked.trainer.devices).workers}",
            f"run={run}",
            f"optim.global_batch={self.micro_batch * self.micro_batches}",
            "trainer.devices=1",
            "trainer.num_nodes=1",
        ]
        return bench_config([*self._overrides, *own])

    def _open(self) -> None:
        if self.config.trainer.threads is not None:
            torch.set_num_threads(self.config.trainer.threads)
        self._data = build.pretrain_data(self.config)
        torch.manual_seed(self.config.seed)
        model, _ = build.pretraining_model(self.config)
        self._task = build.reconstruction_task(self.config, model)
        self._baselines = build.measure_baselines(self._data, model)
        self._held: PretrainBatch | None = None

    @property
    def clips(self) -> int:
        """Clips of a micro-batch."""
        return self.micro_batch * self.config.data.views

    def load(self, seconds: float) -> float:
        """Let the loader run alone, and give the mean seconds of a micro-batch."""
        batches = iter(self._data.train_dataloader())
        return loader_seconds(batches, self.config.loader.workers, seconds)

    def bare(self, seconds: float) -> float:
        """Repeat the bare step on one micro-batch, and give its mean seconds."""
        self._task.model.to(self.device)
        step = bare_step(self._task, self.config.optim.options, self.config.update, self._batch())
        return bare_seconds(step, self.device, seconds)

    def fit(self, seconds: float, *, held: bool = False, saves: bool = False) -> Clock:
        """Train for some seconds, from the loader or with one held micro-batch, and give the clock."""
        data = self._data
        plan = step_plan(self.config, len(data.selection))
        plan = replace(plan, total_steps=_ENDLESS, schedule=replace(plan.schedule, total_steps=_ENDLESS))
        module = build.module(self.config, self._task, plan, data)
        saving = StepCheckpoint(
            self.config.run / "checkpoints", SavingOptions(_ENDLESS, None, 1, at_end=saves)
        )
        clock = Clock(seconds)
        watchers = watching.pretrain_watch(self.config, data, self._baselines, plan.total_steps)
        trainer = build.trainer(self.config, plan, "bench", saving, [clock, *watchers])
        _without_progress(trainer)
        trainer.fit(module, HeldBatch(self._batch()) if held else data)
        return clock

    def start_and_end(self) -> tuple[float, float]:
        """Time all of a short run but its steps past the first, and the saving of its end; seconds.

        The first step is slower than others and happens once, like a start.
        """
        began = time.perf_counter()
        self._open()
        clock = self.fit(0.0, saves=True)
        ended = time.perf_counter()
        save = ended - clock.ended_at
        return ended - began - clock.seconds, save

    def stages(self) -> StageSeconds:
        """Give the processor seconds of one video, by what they went into: means over a few."""
        dataset = self._data.dataset
        parts = [clip_stages(dataset, place) for place in range(min(_STAGE_VIDEOS, len(dataset.order)))]
        return StageSeconds(
            *(_mean(getattr(part, name) for part in parts) for name in ("read", "decode", "transform"))
        )

    def packings(self, num_videos: int) -> dict[str, float]:
        """Encode a few videos in other ways: how to pack -> processor seconds of decoding one."""
        dataset = self._data.dataset
        side = math.ceil(dataset.options.size * _CROP_ROOM / 2) * 2
        ways = {
            f"videomae pack --short-side {side} --keyframe-interval {interval}": Reencoding(
                short_side=side, keyframe_interval=interval
            )
            for interval in (16, 1)
        }
        places = range(min(num_videos, len(dataset.order)))
        videos = [dataset[place].sample_id for place in places]
        return {words: self._decode_sec(videos, way) for words, way in ways.items()} if videos else {}

    def _decode_sec(self, videos: Sequence[int], way: Reencoding) -> float:
        dataset = self._data.dataset
        packed = dataset.selection.dataset
        seconds: list[float] = []
        for video in videos:
            content = reencode(packed.read_bytes(video), way, where=packed.where(video))
            for seed in range(4):
                began = time.process_time()
                decode_window(dataset, video, content, seed)
                seconds.append(time.process_time() - began)
        return _mean(seconds)

    def _batch(self) -> PretrainBatch:
        if self._held is None:
            batch = self._data.first_videos(self.micro_batch)
            tensors = {name: part for name, part in batch._asdict().items() if isinstance(part, Tensor)}
            self._held = batch._replace(**{name: part.to(self.device) for name, part in tensors.items()})
        return self._held


def _without_progress(trainer: pl.Trainer) -> None:
    callbacks: list[pl.Callback] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    callbacks[:] = [callback for callback in callbacks if not isinstance(callback, StepProgress)]


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
