from __future__ import annotations

import pickle
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from loader_steps import assert_same, join, pretrain_module, take_steps
from small_options import (
    GRID,
    decode_all,
    evaluation_options,
    finetune_options,
    hide_most,
    loader_options,
    pretrain_options,
)

from videomae_train.data.datamodule import FinetuneDataModule, PretrainDataModule
from videomae_train.data.datasets import EvaluationDataset
from videomae_train.data.index import PackedDataset
from videomae_train.data.loader import BatchLoader, evaluation_loader
from videomae_train.data.pack_plan import PackOptions
from videomae_train.data.packing import pack
from videomae_train.data.sources import open_source
from videomae_train.errors import CheckpointError, ConfigError, ShardError
from videomae_train.types import PretrainBatch


@pytest.fixture
def broken(break_videos: Callable[[set[int]], None]) -> None:
    break_videos({2, 9, 13})


@pytest.fixture
def straight(packed_folder: Path, broken: None) -> list[PretrainBatch]:
    """Six steps, more than two epochs of 16 videos, on one rank without workers; some videos are broken."""
    return take_steps(pretrain_module(packed_folder), 6)


@pytest.mark.parametrize(
    ("world", "workers", "micro_batch"),
    [
        (1, 0, 2),
        (1, 1, 2),
        (1, 3, 3),
        (2, 0, 3),
        (2, 1, 1),
        (2, 3, 3),
        (3, 0, 1),
        (3, 1, 2),
        (3, 3, 1),
        (6, 0, 1),
    ],
)
def test_global_batches__same_for_any_ranks_and_workers(
    packed_folder: Path, straight: list[PretrainBatch], world: int, workers: int, micro_batch: int
) -> None:
    ranks = [
        take_steps(
            pretrain_module(packed_folder, rank=rank, world=world, workers=workers, micro_batch=micro_batch),
            6,
        )
        for rank in range(world)
    ]
    for step, expected in enumerate(straight):
        assert_same(join([steps[step] for steps in ranks]), expected)


def test_epochs__cover_each_video_once(packed_folder: Path) -> None:
    steps = take_steps(pretrain_module(packed_folder), 8)
    sample_ids = torch.cat([step.sample_ids for step in steps])[::2].tolist()
    expected = PackedDataset.open(packed_folder).select("split/train").sample_ids.tolist()
    for epoch in range(3):
        assert sorted(sample_ids[16 * epoch : 16 * epoch + 16]) == expected


@pytest.mark.parametrize(
    ("stop", "before", "world", "workers"),
    [(1, (1, 0), 2, 3), (2, (2, 1), 3, 0), (3, (3, 0), 1, 3), (4, (1, 3), 3, 1), (5, (2, 0), 1, 1)],
)
def test_resume__goes_on_exactly_under_other_ranks_and_workers(
    packed_folder: Path,
    straight: list[PretrainBatch],
    stop: int,
    before: tuple[int, int],
    world: int,
    workers: int,
) -> None:
    """Six steps are more than two epochs, so that the stops lie within, at and across their ends."""
    first = pretrain_module(packed_folder, rank=before[0] - 1, world=before[0], workers=before[1])
    take_steps(first, stop)
    state = pickle.loads(pickle.dumps(first.state_dict()))
    ranks = []
    for rank in range(world):
        module = pretrain_module(packed_folder, rank=rank, world=world, workers=workers)
        module.load_state_dict(state)
        ranks.append(take_steps(module, 6 - stop))
    for step, expected in enumerate(straight[stop:]):
        assert_same(join([steps[step] for steps in ranks]), expected)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "data.seed"),
        ({"selection": "split/test"}, "data.fingerprint"),
        ({"shuffle_window_videos": 30}, "data.shuffle_window_videos"),
    ],
)
def test_resume__refuses_another_order(packed_folder: Path, changes: dict[str, Any], named: str) -> None:
    state = pretrain_module(packed_folder).state_dict()
    with pytest.raises(CheckpointError, match=named):
        pretrain_module(packed_folder, **changes).load_state_dict(state)


def test_resume__refuses_the_same_videos_in_other_shards(motion_videos: Path, tmp_path: Path) -> None:
    for name, videos in (("few", 5), ("many", 8)):
        pack(
            open_source(motion_videos),
            tmp_path / name,
            PackOptions(seed=0, shard_max_videos=videos),
            lambda _: None,
        )
    few, many = (pretrain_module(tmp_path / name, selection="all") for name in ("few", "many"))
    state = few.state_dict()
    assert state["fingerprint"] == many.state_dict()["fingerprint"]
    with pytest.raises(CheckpointError, match=r"data\.layout.*other shards"):
        many.load_state_dict(state)
    few.load_state_dict({name: value for name, value in state.items() if name != "layout"})


def test_batches__shape_type_and_memory(packed_folder: Path) -> None:
    for workers in (0, 1):
        batch = next(iter(pretrain_module(packed_folder, micro_batch=3, workers=workers).train_dataloader()))
        assert (batch.clips.shape, batch.clips.dtype) == ((6, 4, 3, 32, 32), torch.uint8)
        assert batch.clips.permute(0, 1, 3, 4, 2).is_contiguous()
        assert (batch.visible_idx.shape, batch.hidden_idx.shape) == ((6, 2), (6, 6))
        assert batch.sample_ids.tolist() == [v for v in batch.sample_ids[::2].tolist() for _ in range(2)]
        assert {batch[place].dtype for place in (1, 2, 3, 4)} == {torch.int64}


@pytest.mark.parametrize("workers", [0, 1])
def test_errors__arrive_from_workers_as_they_were_raised(
    packed_folder: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_bytes(_self: PackedDataset, _row: int) -> bytes:
        raise ShardError(where="shard-000001.tar", came="one", expected="two", todo="Three.")

    monkeypatch.setattr(PackedDataset, "read_bytes", read_bytes)
    with pytest.raises(ShardError) as caught:
        next(iter(pretrain_module(packed_folder, workers=workers).train_dataloader()))
    assert str(caught.value) == "shard-000001.tar: one; expected two. Three."


def test_module__refuses_batches_that_do_not_fit(packed_folder: Path) -> None:
    with pytest.raises(ConfigError, match="such as 4 or 8"):
        pretrain_module(packed_folder, micro_batch=4).train_dataloader()
    with pytest.raises(ConfigError, match=r"shuffle_window_videos: 10 with a global batch of 6"):
        pretrain_module(packed_folder, shuffle_window_videos=10)
    with pytest.raises(ConfigError, match="no such folder"):
        pretrain_module(packed_folder / "nowhere")


def finetune_module(folder: Path, **changes: Any) -> FinetuneDataModule:
    return FinetuneDataModule(
        finetune_options(folder, **changes), loader_options(), seed=0, global_batch=4, micro_batch=4
    )


def test_finetune__labels_and_few_videos(packed_folder: Path) -> None:
    packed = PackedDataset.open(packed_folder)
    loader = iter(finetune_module(packed_folder, per_class=2).train_dataloader())
    batches = list(islice(loader, 3))
    assert all(
        (batch.labels == torch.from_numpy(packed.labels.copy())[batch.sample_ids]).all() for batch in batches
    )
    assert len(torch.cat([batch.sample_ids for batch in batches]).unique()) == 6
    assert batches[0].clips.shape == (8, 4, 3, 32, 32)


def test_finetune__the_seed_of_few_labels_is_its_own(packed_folder: Path) -> None:
    modules = [finetune_module(packed_folder, per_class=2, per_class_seed=seed) for seed in range(6)]
    assert len({module.selection.fingerprint for module in modules}) > 1
    assert {module.stream.order.seed for module in modules} == {0}


def test_finetune__validation_is_whole_and_the_same_each_time(packed_folder: Path) -> None:
    module = finetune_module(packed_folder)
    first, second = (list(module.validation_loader()) for _ in range(2))
    assert [len(batch.clips) for batch in first] == [4, 2]
    for one, two in zip(first, second, strict=True):
        assert one.clips.shape[1:] == (1, 4, 3, 32, 32)
        assert torch.equal(one.clips, two.clips)
    sample_ids = torch.cat([batch.sample_ids for batch in first]).tolist()
    assert sample_ids == module.val_selection.sample_ids.tolist()


def test_evaluation_loader__skips_nothing_but_faults(packed: PackedDataset, broken: None) -> None:
    dataset = EvaluationDataset(packed.select(), evaluation_options(packed.folder))
    batches = list(evaluation_loader(dataset, loader_options(1), batch_videos=4))
    scored = torch.cat([batch.sample_ids for batch in batches]).tolist()
    faults = [fault.sample_id for batch in batches for fault in batch.faults]
    assert faults == [2, 9, 13]
    assert sorted(scored + faults) == list(range(22))
    assert all(len(batch.clips) == len(batch.labels) == len(batch.sample_ids) for batch in batches)
    assert all(batch.clips.shape[1:] == (6, 4, 3, 32, 32) for batch in batches)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("workers", [0, 1])
def test_evaluation_loader__ranks_score_each_video_once(
    packed: PackedDataset, broken: None, world: int, workers: int
) -> None:
    """Shards of 4, 4, 4, 4, 4 and 2 videos do not divide by any number of ranks, and nobody waits for anybody."""
    options = evaluation_options(packed.folder, num_clips=1, num_crops=1)
    whole = EvaluationDataset(packed.select(), options)
    seen: list[int] = []
    for rank in range(world):
        share = EvaluationDataset(packed.select(), options, rank=rank, world=world)
        for batch in evaluation_loader(share, loader_options(workers), batch_videos=4):
            seen += [*batch.sample_ids.tolist(), *(fault.sample_id for fault in batch.faults)]
            for clip, label, sample_id in zip(
                batch.clips, batch.labels, batch.sample_ids.tolist(), strict=True
            ):
                alone = whole[sample_id]
                assert torch.equal(clip, alone.clips[0].permute(0, 1, 4, 2, 3))
                assert int(label) == alone.label
    assert sorted(seen) == list(range(22))


def test_evaluation_loader__a_batch_of_faults_and_an_empty_rank(
    packed: PackedDataset, break_videos: Callable[[set[int]], None]
) -> None:
    break_videos(set(range(22)))
    options = evaluation_options(packed.folder)
    batch = next(
        iter(evaluation_loader(EvaluationDataset(packed.select(), options), loader_options(), batch_videos=3))
    )
    assert (len(batch.clips), len(batch.labels), len(batch.faults)) == (0, 0, 3)
    empty = EvaluationDataset(packed.select("split/test"), options, rank=7, world=8)
    assert list(evaluation_loader(empty, loader_options(), batch_videos=3)) == []


class Counting(pl.LightningModule):
    """Trains nothing; takes the batches of each step by hand."""

    def __init__(self, num_micro: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.num_micro = num_micro
        self.taken = 0
        self.seen: list[int] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def training_step(self, batch: PretrainBatch) -> None:
        self.seen += batch.sample_ids[::2].tolist()
        self.manual_backward(self.weight.sum())
        # Not batch_idx: Lightning restores it from the checkpoint, where micro-batches had another size.
        self.taken += 1
        if self.taken % self.num_micro == 0:
            self.optimizers().step()
            self.trainer.datamodule.advance(6)


def fit(
    folder: Path, run: Path, *, max_steps: int, micro_batch: int, checkpoint: Path | None = None
) -> list[int]:
    module = PretrainDataModule(
        pretrain_options(folder),
        loader_options(1),
        mask_sampler=hide_most,
        decode_sampler=decode_all,
        grid=GRID,
        seed=0,
        global_batch=6,
        micro_batch=micro_batch,
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=max_steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=run,
    )
    model = Counting(6 // micro_batch)
    trainer.fit(model, datamodule=module, ckpt_path=checkpoint)
    trainer.save_checkpoint(run / f"{max_steps}.ckpt")
    assert isinstance(trainer.train_dataloader, BatchLoader)
    return model.seen


@pytest.mark.filterwarnings("ignore")
def test_lightning__checkpoints_hold_the_position(packed_folder: Path, tmp_path: Path) -> None:
    straight = fit(packed_folder, tmp_path, max_steps=5, micro_batch=3)
    first = fit(packed_folder, tmp_path, max_steps=2, micro_batch=3)
    rest = fit(packed_folder, tmp_path, max_steps=5, micro_batch=2, checkpoint=tmp_path / "2.ckpt")
    assert len(straight) == 30
    assert first + rest == straight
    assert np.unique(straight[:16]).size == 16
