from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loader_steps import assert_same, join, pretrain_module, take_steps
from small_options import pretrain_options

from videomae_train.data.datamodule import PretrainDataModule
from videomae_train.data.index import PackedDataset, Selection
from videomae_train.data.joined import JoinedDataset, join_selections
from videomae_train.data.options import SetOptions
from videomae_train.data.views import Video
from videomae_train.errors import CheckpointError, ConfigError

NO_SET = {"selection": None, "stride": None}


@pytest.fixture
def sets(packed_folder: Path, packed_motions: Path) -> dict[str, SetOptions]:
    """16 of 22 videos of 12 to 21 frames, and 12 of 16 videos of 16 frames."""
    return {
        "moving": SetOptions(packed_folder, "split/train", 2),
        "generated": SetOptions(packed_motions, "split/train", 4),
    }


@pytest.fixture
def joined(sets: dict[str, SetOptions]) -> Selection:
    return join_selections(
        {name: PackedDataset.open(of.path).select(of.selection) for name, of in sets.items()}
    )


def hybrid(sets: dict[str, SetOptions], **changes: Any) -> PretrainDataModule:
    return pretrain_module(None, **NO_SET, sets=sets, **changes)


def test_joined__numbers_on_in_the_order_of_names(
    joined: Selection, packed_folder: Path, packed_motions: Path
) -> None:
    first, second = PackedDataset.open(packed_motions), PackedDataset.open(packed_folder)
    chosen = [first.select("split/train").sample_ids, second.select("split/train").sample_ids + 16]
    assert joined.sample_ids.tolist() == np.concatenate(chosen).tolist()
    dataset = joined.dataset
    assert (dataset.num_videos, len(joined)) == (38, 28)
    for sample_id in range(38):
        name, packed, row = (
            ("generated", first, sample_id) if sample_id < 16 else ("moving", second, sample_id - 16)
        )
        assert dataset.set_name(sample_id) == name
        assert dataset.key(sample_id) == packed.key(row)
        assert dataset.shard(sample_id) == f"{name}/{packed.shard(row)}"
        assert dataset.where(sample_id) == f"{name}: {packed.where(row)}"
        assert dataset.num_frames[sample_id] == packed.num_frames[row]
        assert dataset.read_bytes(sample_id) == packed.read_bytes(row)
    assert len(np.unique(dataset.shard_numbers)) == len(np.unique(first.shard_numbers)) + len(
        np.unique(second.shard_numbers)
    )
    assert (np.diff(dataset.shard_numbers) >= 0).all()
    again = pickle.loads(pickle.dumps(dataset))
    assert again.read_bytes(20) == dataset.read_bytes(20)
    assert isinstance(dataset, JoinedDataset)
    assert len(pickle.dumps(dataset)) < 4000, "tables are opened again, not sent"


def test_joined__depends_on_what_the_sets_hold_and_their_names_order_only(
    joined: Selection, sets: dict[str, SetOptions], tmp_path: Path
) -> None:
    elsewhere = {
        name: SetOptions(shutil.copytree(of.path, tmp_path / name), of.selection, of.stride)
        for name, of in reversed(sets.items())
    }
    here, there = hybrid(sets), hybrid(elsewhere)
    assert here.selection.fingerprint == there.selection.fingerprint == joined.fingerprint
    assert_same(*(take_steps(module, 1)[0] for module in (here, there)))
    fewer = {**sets, "moving": SetOptions(sets["moving"].path, "all", 2)}
    assert hybrid(fewer).selection.fingerprint != joined.fingerprint
    with pytest.raises(CheckpointError, match=r"data\.fingerprint"):
        hybrid(fewer).load_state_dict(here.state_dict())


def test_one_set__is_not_changed_by_there_being_several(packed_folder: Path) -> None:
    selection = pretrain_module(packed_folder).selection
    alone = PackedDataset.open(packed_folder).select("split/train")
    assert selection.fingerprint == alone.fingerprint
    assert selection.sample_ids.tolist() == alone.sample_ids.tolist()
    named = hybrid({"only": SetOptions(packed_folder, "split/train", 2)})
    assert named.selection.sample_ids.tolist() == alone.sample_ids.tolist()


def test_windows__keep_each_sets_stride(sets: dict[str, SetOptions], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, set[int]] = {"moving": set(), "generated": set()}
    decode = Video.decode

    def record(self: Video, indices: np.ndarray) -> Any:
        seen[self.where.split(":")[0]] |= set(np.diff(indices).tolist())
        return decode(self, indices)

    monkeypatch.setattr(Video, "decode", record)
    dataset = hybrid(sets).dataset
    for position in range(28):
        dataset[position]
    assert seen == {"moving": {2}, "generated": {4}}


def test_epochs__mix_the_sets_and_cover_each_video_once(sets: dict[str, SetOptions]) -> None:
    module = hybrid(sets)
    dataset, order = module.selection.dataset, module.stream.order
    for epoch in range(5):
        ids = order.epoch(epoch).tolist()
        assert sorted(ids) == module.selection.sample_ids.tolist()
        assert len({dataset.set_name(sample_id) for sample_id in ids[:12]}) == 2


@pytest.mark.parametrize(("world", "workers"), [(1, 2), (2, 1), (3, 0)])
def test_ranks_and_workers__make_the_same_batches_and_resume(
    sets: dict[str, SetOptions],
    world: int,
    workers: int,
    break_videos: Callable[[set[int]], None],
) -> None:
    break_videos({3, 11})
    first = hybrid(sets)
    straight = take_steps(first, 2)
    state = first.state_dict()
    straight += take_steps(hybrid_at(sets, state), 4)
    ranks = [
        [
            *take_steps(hybrid(sets, rank=rank, world=world, workers=workers), 2),
            *take_steps(hybrid_at(sets, state, rank=rank, world=world, workers=workers), 4),
        ]
        for rank in range(world)
    ]
    for step, expected in enumerate(straight):
        assert_same(join([steps[step] for steps in ranks]), expected)
    faults = [fault for step in straight for fault in step.faults]
    assert {fault.shard.split("/")[0] for fault in faults} == {"moving", "generated"}, "row 3 and 11 of each"


def hybrid_at(sets: dict[str, SetOptions], state: dict[str, Any], **changes: Any) -> PretrainDataModule:
    module = hybrid(sets, **changes)
    module.load_state_dict(state)
    return module


def test_mistakes__name_the_set(sets: dict[str, SetOptions], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"data\.sets\.far: {tmp_path}: no packed data set"):
        hybrid({**sets, "far": SetOptions(tmp_path, "all", 4)})


@pytest.mark.parametrize(
    "given",
    [
        {"path": Path("x"), "selection": "all", "stride": 4},
        {"path": None, "selection": None, "stride": 4},
        {"path": Path("x"), "selection": None, "stride": None},
    ],
)
def test_options__are_of_one_set_or_of_several(given: dict[str, Any], sets: dict[str, SetOptions]) -> None:
    with pytest.raises(ConfigError, match=r"data\.path.*expected either"):
        pretrain_options(**{**given, "sets": sets})
    if given["selection"] is None:
        with pytest.raises(ConfigError, match=r"data\.path.*expected either"):
            pretrain_options(**{**given, "sets": None})
