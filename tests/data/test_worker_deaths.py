"""Decoders that hang or crash in real loader workers."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loader_steps import assert_same, join, pretrain_module, take_steps
from small_options import evaluation_options, loader_options
from torch import Tensor
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from videomae_train.data.datasets import EvaluationDataset
from videomae_train.data.index import PackedDataset
from videomae_train.data.loader import evaluation_loader
from videomae_train.data.passed_by import PassedBy
from videomae_train.data.views import Video
from videomae_train.errors import ConfigError, DecodeError, TrainingError
from videomae_train.types import Fault, PretrainBatch

PLACE = 7  # in the second of six steps


@pytest.fixture(autouse=True)
def ask_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch looks every five seconds whether a worker has died while it waits for a batch; here, more often."""
    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.3,))


def hang() -> None:
    """In native code that keeps the interpreter's lock: nothing written in Python runs in this process any more."""
    ctypes.PyDLL(None).pause()


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@pytest.fixture
def bad_key(packed_folder: Path) -> str:
    module = pretrain_module(packed_folder)
    return module.selection.dataset.key(module.stream.order.sample_at(PLACE)[1])


@pytest.fixture
def decode_badly(bad_key: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Make the decoder do something bad at one video, in workers only."""
    decode = Video.decode

    def set_up(bad: Callable[[], None]) -> None:
        def decode_or_not(self: Video, indices: np.ndarray) -> Tensor:
            if self.where.endswith(f", {bad_key}"):
                assert multiprocessing.parent_process() is not None, "never in the main process"
                bad()
            return decode(self, indices)

        monkeypatch.setattr(Video, "decode", decode_or_not)

    return set_up


def resumed(folder: Path, run: Path, **changes: Any) -> Any:
    return pretrain_module(folder, passed_by=PassedBy(run / "passed_by"), **changes)


@pytest.fixture
def expected(packed_folder: Path, bad_key: str, tmp_path: Path) -> list[PretrainBatch]:
    """What the run has to be when the video is passed by: as if it were an unreadable one."""
    selection = pretrain_module(packed_folder).selection
    row = next(row for row in range(22) if selection.dataset.key(row) == bad_key)
    fault = Fault(bad_key, selection.dataset.shard(row), row, PLACE, "crashed", "x")
    PassedBy(tmp_path / "by hand" / "passed_by").add(fault)
    return take_steps(resumed(packed_folder, tmp_path / "by hand"), 6)


@pytest.mark.parametrize(
    ("bad", "cause", "words"),
    [
        (hang, "timeout", "longer than loader.decode_timeout_sec"),
        (crash, "crashed", "SIGSEGV"),
    ],
)
def test_a_bad_decoder__ends_the_run_which_passes_it_by_when_resumed(
    bad: Callable[[], None],
    cause: str,
    words: str,
    packed_folder: Path,
    tmp_path: Path,
    bad_key: str,
    decode_badly: Callable[[Callable[[], None]], None],
    expected: list[PretrainBatch],
) -> None:
    decode_badly(bad)
    first = resumed(packed_folder, tmp_path, workers=2, decode_timeout_sec=2.0)
    with pytest.raises(DecodeError) as caught:
        take_steps(first, 6)
    shard = next(fault.shard for step in expected for fault in step.faults)
    for part in (shard, bad_key, cause, words, f"position {PLACE}", "resume=auto"):
        assert part in str(caught.value)
    assert multiprocessing.active_children() == [], "no worker is left"
    (file,) = (tmp_path / "passed_by").iterdir()
    listed = json.loads(file.read_text())
    assert (listed["key"], listed["shard"], listed["position"], listed["cause"]) == (bad_key, shard, 7, cause)

    for world, workers in ((1, 2), (2, 1), (3, 0)):
        ranks = [
            take_steps(resumed(packed_folder, tmp_path, rank=rank, world=world, workers=workers), 6)
            for rank in range(world)
        ]
        for step, (whole, truth) in enumerate(
            zip((join(list(s)) for s in zip(*ranks, strict=True)), expected, strict=True)
        ):
            assert_same(whole._replace(faults=()), truth._replace(faults=())), step
            places = [(fault.sample_id, fault.position) for fault in truth.faults]
            assert [(fault.sample_id, fault.position) for fault in whole.faults] == places
            assert all(fault.cause == cause for fault in whole.faults if fault.key == bad_key)
    counted = [fault for step in expected for fault in step.faults if fault.key == bad_key]
    assert len(counted) >= 2, "counted each time it comes up"


def test_a_crash__is_told_at_the_next_batch_and_nowhere_else(
    packed_folder: Path, decode_badly: Callable[[Callable[[], None]], None]
) -> None:
    """Not within a step, nor within the writing of a checkpoint, where torch's own handler would raise it."""
    decode_badly(crash)
    before = signal.getsignal(signal.SIGCHLD)
    batches = iter(pretrain_module(packed_folder, workers=1).train_dataloader())
    for _ in range(PLACE - 1):
        next(batches)
    worker = multiprocessing.active_children()[0]
    for _ in range(200):
        if worker.exitcode is not None:
            break
        time.sleep(0.05)  # as a step would
    assert worker.exitcode == -signal.SIGSEGV
    assert signal.getsignal(signal.SIGCHLD) == before
    with pytest.raises(DecodeError, match="Repair, re-encode or remove"):
        list(islice(batches, 6))


def test_a_worker_that_dies_idle__is_not_blamed_on_a_video(packed_folder: Path, tmp_path: Path) -> None:
    batches = iter(resumed(packed_folder, tmp_path, workers=1).train_dataloader())
    next(batches)
    worker = multiprocessing.active_children()[0]
    time.sleep(1.0)  # until the worker has filled its queue
    os.kill(worker.pid or 0, signal.SIGKILL)
    with pytest.raises(TrainingError, match="SIGKILL while it was not decoding"):
        list(islice(batches, 6))
    assert not (tmp_path / "passed_by").exists()


@pytest.mark.usefixtures("hearing_hangups")
@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGKILL, "most likely because memory was full.*Lower loader.num_workers.*more memory"),
        (signal.SIGHUP, "Find out who sends this signal"),
        (signal.SIGBUS, "most likely because /dev/shm was full.*Give /dev/shm more room.*--shm-size"),
    ],
)
def test_a_worker_that_is_ended_from_outside__is_not_blamed_on_its_video(
    number: signal.Signals,
    words: str,
    packed_folder: Path,
    tmp_path: Path,
    bad_key: str,
    decode_badly: Callable[[Callable[[], None]], None],
) -> None:
    decode_badly(lambda: os.kill(os.getpid(), number))
    with pytest.raises(
        TrainingError, match=rf"{number.name} while it was decoding .*{bad_key}.*{words}.*all videos"
    ):
        take_steps(resumed(packed_folder, tmp_path, workers=1), 6)
    assert not (tmp_path / "passed_by").exists()


def test_slow_steps__are_no_slow_decoders(packed_folder: Path) -> None:
    """The limit is on one video, not on the time between batches."""
    batches = iter(pretrain_module(packed_folder, workers=1, decode_timeout_sec=1.5).train_dataloader())
    next(batches)
    time.sleep(2.0)
    for _ in range(4):
        next(batches)


def test_evaluation__names_the_video_too(
    packed: PackedDataset, bad_key: str, decode_badly: Callable[[Callable[[], None]], None]
) -> None:
    decode_badly(crash)
    dataset = EvaluationDataset(packed.select(), evaluation_options(packed.folder))
    with pytest.raises(DecodeError, match=f"{bad_key}: crashed"):
        list(evaluation_loader(dataset, loader_options(1), batch_videos=4))


def test_list__of_other_data_is_refused(packed_folder: Path, tmp_path: Path) -> None:
    PassedBy(tmp_path / "passed_by").add(Fault("other video", "shard", 3, 0, "crashed", "x"))
    with pytest.raises(ConfigError, match="other video"):
        resumed(packed_folder, tmp_path)
    PassedBy(tmp_path / "far" / "passed_by").add(Fault("other video", "shard", 300, 0, "crashed", "x"))
    with pytest.raises(ConfigError, match="one of 22 videos"):
        resumed(packed_folder, tmp_path / "far")
