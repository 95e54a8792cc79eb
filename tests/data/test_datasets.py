from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_options import (
    GRID,
    decode_all,
    decode_half,
    evaluation_options,
    finetune_options,
    hide_most,
    pretrain_options,
)

from videomae_train.data.datasets import (
    DecodeSampler,
    EvaluationDataset,
    FinetuneDataset,
    PretrainDataset,
)
from videomae_train.data.index import PackedDataset, Selection
from videomae_train.data.order import EpochOrder
from videomae_train.data.stand_ins import MAX_ATTEMPTS
from videomae_train.data.views import SampleKey
from videomae_train.errors import ConfigError, TrainingError
from videomae_train.types import Fault, PatchGrid


def order_of(selection: Selection, seed: int = 0) -> EpochOrder:
    return EpochOrder(
        selection.sample_ids,
        selection.shard_numbers,
        fingerprint=selection.fingerprint,
        seed=seed,
        window_videos=8,
    )


def pretrain_dataset(
    packed: PackedDataset, seed: int = 0, decode: DecodeSampler = decode_all, **changes: object
) -> PretrainDataset:
    selection = packed.select("split/train")
    options = pretrain_options(packed.folder, **changes)
    return PretrainDataset(
        selection,
        order_of(selection, seed),
        options,
        mask_sampler=hide_most,
        decode_sampler=decode,
        grid=GRID,
    )


def finetune_dataset(packed: PackedDataset, **changes: object) -> FinetuneDataset:
    selection = packed.select("split/train")
    return FinetuneDataset(selection, order_of(selection), finetune_options(packed.folder, **changes))


def test_pretrain__shapes(packed: PackedDataset) -> None:
    item = pretrain_dataset(packed)[3]
    assert (item.clips.shape, item.clips.dtype) == ((2, 4, 32, 32, 3), torch.uint8)
    assert item.clips.is_contiguous()
    assert (item.visible.shape, item.hidden.shape) == ((2, 2), (2, 6))
    for visible, hidden in zip(item.visible, item.hidden, strict=True):
        assert sorted([*visible.tolist(), *hidden.tolist()]) == list(range(8))
        assert visible.tolist() == sorted(visible.tolist())


def test_pretrain__is_a_function_of_seed_and_position(packed: PackedDataset) -> None:
    dataset, again = pretrain_dataset(packed), pretrain_dataset(packed)
    items = [dataset[position] for position in range(40)]
    for position in (39, 0, 17):
        repeated = again[position]
        assert torch.equal(items[position].clips, repeated.clips)
        assert torch.equal(items[position].hidden, repeated.hidden)
    other = pretrain_dataset(packed, seed=1)
    by_sample = {other[position].sample_id: other[position] for position in range(16)}
    assert any(not torch.equal(by_sample[item.sample_id].clips, item.clips) for item in items[:16])


def test_pretrain__is_the_same_in_another_process(packed: PackedDataset) -> None:
    dataset = pretrain_dataset(packed)
    again = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(again[5].clips, dataset[5].clips)


def test_pretrain__views_and_epochs_differ(packed: PackedDataset) -> None:
    dataset = pretrain_dataset(packed)
    items = [dataset[position] for position in range(32)]
    assert sum(torch.equal(item.clips[0], item.clips[1]) for item in items) < 8
    assert sum(torch.equal(item.hidden[0], item.hidden[1]) for item in items) < 16
    first = {item.sample_id: item for item in items[:16]}
    assert sum(torch.equal(first[item.sample_id].clips, item.clips) for item in items[16:]) < 4


def test_pretrain__one_choice_does_not_shift_another(packed: PackedDataset) -> None:
    plain, flipped = pretrain_dataset(packed), pretrain_dataset(packed, flip=True)
    mirrored = 0
    for position in range(16):
        one, two = plain[position], flipped[position]
        assert torch.equal(one.hidden, two.hidden)
        for view, other in zip(one.clips, two.clips, strict=True):
            assert torch.equal(view, other) or torch.equal(view.flip(2), other)
            mirrored += not torch.equal(view, other)
    assert 8 <= mirrored <= 24, "half of 32"


def test_pretrain__decoding_a_part_shifts_no_other_choice(packed: PackedDataset) -> None:
    whole, part, again = (pretrain_dataset(packed, decode=d) for d in (decode_all, decode_half, decode_half))
    shares: set[tuple[int, ...]] = set()
    for position in range(16):
        one, two = whole[position], part[position]
        assert torch.equal(one.clips, two.clips)
        assert torch.equal(one.visible, two.visible)
        assert two.hidden.shape == (2, 3)
        assert torch.equal(two.hidden, again[position].hidden)
        for hidden, decoded in zip(one.hidden.tolist(), two.hidden.tolist(), strict=True):
            assert set(decoded) < set(hidden)
            shares.add(tuple(hidden.index(token) for token in decoded))
    assert len(shares) > 5, "drawn anew for each view"


def test_pretrain__the_decoder_has_a_generator_of_its_own(packed: PackedDataset) -> None:
    drawn: dict[str, list[int]] = {"mask": [], "decode": []}

    def record(purpose: str, rng: np.random.Generator) -> None:
        drawn[purpose].append(int(rng.integers(2**62)))

    def mask(grid: PatchGrid, rng: np.random.Generator) -> np.ndarray:
        record("mask", rng)
        return np.arange(grid.num_tokens) > 1

    def decode(hidden: np.ndarray, grid: PatchGrid, rng: np.random.Generator) -> np.ndarray:
        record("decode", rng)
        return np.flatnonzero(hidden)

    dataset = pretrain_dataset(packed, decode=decode)
    dataset.mask_sampler = mask
    item = dataset[0]
    key = SampleKey(dataset.order.seed, 0, dataset.order.fingerprint, item.sample_id)
    for purpose, numbers in drawn.items():
        assert numbers == [int(key.rng(view, purpose).integers(2**62)) for view in range(2)]


def test_sample_key__choices_are_independent() -> None:
    key = SampleKey(seed=0, epoch=0, dataset="f", sample_id=0)
    keys = [key._replace(seed=1), key._replace(epoch=1), key._replace(dataset="g"), key._replace(sample_id=1)]
    choices = [(key, 0, "crop"), (key, 1, "crop"), (key, 0, "mask"), *((other, 0, "crop") for other in keys)]
    drawn = {int(which.rng(view, purpose).integers(2**62)) for which, view, purpose in choices}
    assert len(drawn) == len(choices)


def test_finetune__labels_belong_to_the_videos(packed: PackedDataset) -> None:
    dataset = finetune_dataset(packed)
    for position in range(16):
        item = dataset[position]
        assert item.label == packed.labels[item.sample_id]
        assert item.clips.shape == (2, 4, 32, 32, 3)
        assert torch.equal(item.clips, dataset[position].clips)


def test_finetune__randaugment_changes_pixels_only(packed: PackedDataset) -> None:
    with_it, without = finetune_dataset(packed), finetune_dataset(packed, randaugment=None)
    same = [torch.equal(with_it[position].clips, without[position].clips) for position in range(16)]
    assert sum(same) < 8
    assert [with_it[p].sample_id for p in range(16)] == [without[p].sample_id for p in range(16)]


def test_finetune__refuses_unlabelled_videos(packed: PackedDataset) -> None:
    packed.__dict__["labels"] = np.full(22, -1)
    with pytest.raises(ConfigError, match="without a label"):
        finetune_dataset(packed)


def test_faults__are_replaced_by_position_and_counted(
    packed: PackedDataset, break_videos: Callable[[set[int]], None]
) -> None:
    whole = [pretrain_dataset(packed)[position] for position in range(16)]
    broken = {item.sample_id for item in whole[:5]}
    break_videos(broken)
    dataset = pretrain_dataset(packed)
    for position, before in enumerate(whole):
        item, again = dataset[position], pretrain_dataset(packed)[position]
        assert torch.equal(item.clips, again.clips)
        assert item.faults == again.faults
        if before.sample_id not in broken:
            assert torch.equal(item.clips, before.clips)
            assert item.faults == ()
            continue
        assert item.sample_id not in broken
        first = item.faults[0]
        assert (first.sample_id, first.position, first.cause) == (before.sample_id, position, "undecodable")
        assert first.key == packed.key(before.sample_id)
        assert first.shard == packed.shard(before.sample_id)
        chain = [before.sample_id, *(dataset.order.alternate(position, a) for a in range(len(item.faults)))]
        assert [*(fault.sample_id for fault in item.faults), item.sample_id] == chain


def test_faults__labels_come_with_the_alternate(
    packed: PackedDataset, break_videos: Callable[[set[int]], None]
) -> None:
    break_videos({int(row) for row in np.flatnonzero(packed.labels == 0)})
    items = [finetune_dataset(packed)[position] for position in range(16)]
    assert {item.label for item in items} <= {1, 2}
    assert all(item.label == packed.labels[item.sample_id] for item in items)


def test_faults__end_the_run_when_nothing_is_readable(
    packed: PackedDataset, break_videos: Callable[[set[int]], None]
) -> None:
    break_videos(set(range(22)))
    with pytest.raises(TrainingError, match=f"{MAX_ATTEMPTS} unreadable videos in a row"):
        pretrain_dataset(packed)[0]


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_evaluation__each_video_once_on_any_number_of_ranks(packed: PackedDataset, world: int) -> None:
    selection = packed.select("split/test")
    options = evaluation_options(packed.folder)
    shares = [EvaluationDataset(selection, options, rank=rank, world=world) for rank in range(world)]
    sample_ids = [share[place].sample_id for share in shares for place in range(len(share))]
    assert sorted(sample_ids) == selection.sample_ids.tolist()


def test_evaluation__views(packed: PackedDataset) -> None:
    selection = packed.select("split/test")
    item = EvaluationDataset(selection, evaluation_options(packed.folder))[0]
    assert (item.clips.shape, item.clips.dtype) == ((1, 6, 4, 32, 32, 3), torch.uint8)
    single = EvaluationDataset(selection, evaluation_options(packed.folder, num_clips=1, num_crops=1))[0]
    assert single.clips.shape == (1, 1, 4, 32, 32, 3)
    # Crops of one clip stand together; the last clip's last frame is the video's last at this stride.
    assert torch.equal(item.clips[0, 0, :, :, 4:], item.clips[0, 1, :, :, :-4])
    middle = EvaluationDataset(
        selection, evaluation_options(packed.folder, num_clips=1, num_crops=1, windows="middle_dense")
    )[0]
    assert middle.clips.shape == single.clips.shape


def test_evaluation__faults_are_never_replaced(
    packed: PackedDataset, break_videos: Callable[[set[int]], None]
) -> None:
    selection = packed.select("split/test")
    broken = int(selection.sample_ids[2])
    break_videos({broken})
    item = EvaluationDataset(selection, evaluation_options(packed.folder))[2]
    assert item.clips.shape == (0, 6, 4, 32, 32, 3)
    assert [(fault.sample_id, fault.position) for fault in item.faults] == [(broken, -1)]


def test_evaluation__refuses_contradictory_views(packed_folder: Path) -> None:
    selection = PackedDataset.open(packed_folder).select()
    with pytest.raises(ConfigError, match="2 clips with windows=middle_dense"):
        EvaluationDataset(selection, evaluation_options(packed_folder, windows="middle_dense"))


def test_evaluation__takes_what_ended_the_run_for_unreadable(packed: PackedDataset) -> None:
    selection = packed.select("split/test")
    row = int(selection.sample_ids[1])
    fault = Fault(packed.key(row), packed.shard(row), row, -1, "crashed", "x")
    dataset = EvaluationDataset(selection, evaluation_options(packed.folder), passed_by={row: fault})
    assert [len(dataset[place].clips) for place in range(3)] == [1, 0, 1]
    (met,) = dataset[1].faults
    assert (met.cause, "it ended the run in validation" in met.detail) == ("crashed", True)
