"""Runs over a set with twelve kinds of fault planted in it: their account is right to the sample."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest
from command_line import QUICK, SMALL, videomae
from planted_faults import KINDS, plant

from videomae_train.data.decoding import decode_frames
from videomae_train.data.index import PackedDataset
from videomae_train.data.order import EpochOrder
from videomae_train.errors import DecodeError

NUM_STEPS = 21  # of 4 videos: three epochs of 28
WINDOW = 28


class Planted(NamedTuple):
    folder: Path
    broken: list[int]


@pytest.fixture(scope="module")
def planted(packed_motions: Path, tmp_path_factory: pytest.TempPathFactory) -> Planted:
    folder = tmp_path_factory.mktemp("planted") / "set"
    return Planted(folder, plant(packed_motions, folder))


def arguments(planted: Planted, run: Path, *, workers: int, max_fault_ratio: float) -> list[str]:
    quick = [value for value in QUICK if not value.startswith(("loader", "optim.steps"))]
    return [
        "model=tiny", *SMALL, *quick, f"data.path={planted.folder}", f"run={run}", f"optim.steps={NUM_STEPS}",
        f"loader.num_workers={workers}", f"max_fault_ratio={max_fault_ratio}",
        f"data.shuffle_window_videos={WINDOW}",
    ]  # fmt: skip


def recount(planted: Planted) -> list[tuple[int, int, str, str]]:
    """Walk the order position by position: who stood there, and who in his stead, until somebody is whole."""
    dataset = PackedDataset.open(planted.folder)
    selection = dataset.select()
    order = EpochOrder(
        selection.sample_ids,
        selection.shard_numbers,
        fingerprint=selection.fingerprint,
        seed=0,
        window_videos=WINDOW,
    )
    faults: list[tuple[int, int, str, str]] = []
    for position in range(4 * NUM_STEPS):
        sample_id, attempt = order.sample_at(position)[1], 0
        while sample_id in planted.broken:
            faults.append((position, sample_id, dataset.key(sample_id), dataset.shard(sample_id)))
            sample_id = order.alternate(position, attempt)
            attempt += 1
    return faults


def test_planted__every_kind_is_a_fault_wherever_a_clip_begins(planted: Planted) -> None:
    dataset = PackedDataset.open(planted.folder)
    assert len(KINDS) == len(planted.broken) == 12
    for sample_id in range(dataset.num_videos):
        content = dataset.read_bytes(sample_id)
        for start in range(16 - 6):
            indices = list(range(start, start + 7, 2))
            if sample_id in planted.broken:
                with pytest.raises(DecodeError):
                    decode_frames(content, indices, where=dataset.key(sample_id), num_frames=16)
            else:
                decode_frames(content, indices, where="whole", num_frames=16)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_over_them__goes_through_and_accounts_for_each(
    workers: int, planted: Planted, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert videomae("pretrain", *arguments(planted, run, workers=workers, max_fault_ratio=0.9)) == 0
    listed = json.loads((run / "faults.json").read_text())
    expected = recount(planted)
    found = [(fault["position"], fault["sample_id"], fault["key"], fault["shard"]) for fault in listed]
    assert found == expected
    assert {sample_id for _, sample_id, *_ in expected} == set(planted.broken), "each kind came up"
    assert json.loads((run / "run.json").read_text())["num_faults"] == len(expected)


def test_over_the_limit__the_run_stops_with_the_list(
    planted: Planted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert videomae("pretrain", *arguments(planted, run, workers=0, max_fault_ratio=0.25)) == 1
    message = capsys.readouterr().err
    assert "max_fault_ratio" in message
    listed = [
        (fault["position"], fault["sample_id"]) for fault in json.loads((run / "faults.json").read_text())
    ]
    expected = [fault[:2] for fault in recount(planted)]
    steps = next(
        step
        for step in range(1, NUM_STEPS)
        if (count := sum(position < 4 * step for position, _ in expected)) > 0.25 * (4 * step + count)
    )
    assert f"step {steps}: " in message, "it stops at the first step past the limit"
    assert listed == [fault for fault in expected if fault[0] < 4 * steps]
