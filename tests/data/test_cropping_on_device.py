"""Batches whose clips are cropped after their transfer are those whose clips were cropped before it."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_clips import encode, moving_frames, write_tree
from small_options import GRID, decode_all, finetune_options, hide_most, loader_options, pretrain_options

from videomae_train.data.datamodule import FinetuneDataModule, PretrainDataModule
from videomae_train.data.device_crops import most_memory
from videomae_train.data.index import PackedDataset
from videomae_train.data.pack_plan import PackOptions
from videomae_train.data.packing import pack
from videomae_train.data.sources import open_source
from videomae_train.errors import ConfigError


@pytest.fixture(scope="module")
def mixed_sizes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight videos of four sizes, upright ones among them."""
    sizes = [(48, 64), (40, 80), (64, 48), (32, 32)] * 2
    files = {
        f"{name}/{number}.mp4": encode(moving_frames(20, *size, seed=number), options={"preset": "ultrafast"})
        for number, size in enumerate(sizes)
        for name in ["run" if number % 2 else "walk"]
    }
    folder = tmp_path_factory.mktemp("mixed")
    source = open_source(write_tree(folder / "videos", files))
    pack(source, folder / "packed", PackOptions(), lambda _: None)
    return folder / "packed"


def pretrain_module(folder: Path, workers: int = 0, **changes: Any) -> PretrainDataModule:
    return PretrainDataModule(
        pretrain_options(folder, selection="all", shuffle_window_videos=8, **changes),
        loader_options(workers), mask_sampler=hide_most, decode_sampler=decode_all, grid=GRID, seed=0,
        global_batch=4, micro_batch=4,
    )  # fmt: skip


def finetune_module(folder: Path, **changes: Any) -> FinetuneDataModule:
    changes = {"selection": "all", "val_selection": "all", "shuffle_window_videos": 8, **changes}
    return FinetuneDataModule(
        finetune_options(folder, **changes), loader_options(0), seed=0, global_batch=4, micro_batch=4
    )


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("jitter", [0, 3])
def test_pretrain__same_batches(mixed_sizes: Path, jitter: int, workers: int) -> None:
    changes: dict[str, Any] = {"view_jitter_frames": jitter, "flip": True, "views": 2}
    before = pretrain_module(mixed_sizes, **changes)
    after = pretrain_module(mixed_sizes, workers, crop_on="device", **changes)
    for one, whole in islice(zip(before.train_dataloader(), after.train_dataloader(), strict=True), 3):
        assert whole.crops is not None
        assert whole.clips.shape[0] == (8 if jitter else 4), "shared frames travel once"
        two = after.on_after_batch_transfer(whole, 0)
        assert torch.equal(one.clips, two.clips)
        assert one.clips.stride() == two.clips.stride()
        assert torch.equal(one.hidden_idx, two.hidden_idx)
        assert torch.equal(one.sample_ids, two.sample_ids)
        assert two.crops is None


@pytest.mark.parametrize("resampling", ["uint8_antialias", "float_no_antialias"])
@pytest.mark.parametrize("randaugment", [None, "rand-m7-n4-mstd0.5-inc1"])
def test_finetune__same_batches(mixed_sizes: Path, randaugment: str | None, resampling: str) -> None:
    changes = {"randaugment": randaugment, "crop_resampling": resampling, "erase_probability": 0.5}
    before = finetune_module(mixed_sizes, **changes)
    after = finetune_module(mixed_sizes, crop_on="device", **changes)
    for one, whole in islice(zip(before.train_dataloader(), after.train_dataloader(), strict=True), 2):
        two = after.on_after_batch_transfer(whole, 0)
        torch.testing.assert_close(one.clips, two.clips, atol=1e-3 if "float" in resampling else 0, rtol=0)
        assert torch.equal(one.labels, two.labels)
        assert torch.equal(one.erase_boxes, two.erase_boxes)
        assert one.erase_boxes.shape == (8, 4)


@pytest.mark.parametrize(
    ("windows", "stride", "middle"),
    [
        ("dense", 2, "middle_dense"),
        ("strided", 2, "middle_strided"),
        ("uniform", None, "middle_uniform"),
        ("uniform_v1", None, "middle_uniform"),
    ],
)
def test_finetune__validates_on_the_middle_of_the_same_windows(
    mixed_sizes: Path, windows: str, stride: int | None, middle: str
) -> None:
    options = finetune_module(mixed_sizes, windows=windows, stride=stride).val_options
    assert (options.windows, options.antialias) == (middle, True)
    published = finetune_module(mixed_sizes, crop_resampling="float_no_antialias").val_options
    assert not published.antialias


def test_seconds__are_refused_where_a_video_states_no_rate(
    mixed_sizes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_seconds = {"stride": None, "frame_interval_sec": 0.08}
    pretrain_module(mixed_sizes, **in_seconds)
    rates = np.full(8, 25, np.float32)
    rates[5] = 0
    monkeypatch.setattr(PackedDataset, "fps", rates)
    pretrain_module(mixed_sizes)
    for make in (pretrain_module, finetune_module):
        with pytest.raises(
            ConfigError, match=r"frame_interval_sec=0\.08: 1 videos of unknown rate, such as .*"
        ):
            make(mixed_sizes, **in_seconds)


@pytest.mark.parametrize("jitter", [0, 3])
def test_memory__of_the_largest_micro_batch_is_known_from_the_index(mixed_sizes: Path, jitter: int) -> None:
    """Four videos of which one is the highest and one the widest; no batch is larger."""
    module = pretrain_module(mixed_sizes, crop_on="device", views=2, view_jitter_frames=jitter)
    selection = module.selection
    sizes = selection.dataset.frame_sizes[selection.sample_ids]
    assert sizes.tolist().count([48, 64]) == sizes.tolist().count([64, 48]) == 2
    options = module.options
    most = most_memory(
        sizes, videos=4, num_frames=options.num_frames, views=2, shared=options.view_jitter_frames == 0
    )
    batches = [batch.clips for batch in islice(module.train_dataloader(), 8)]
    assert max(clips.nbytes for clips in batches) <= most.frames
    assert most.frames == len(batches[0]) * options.num_frames * 64 * 80 * 3
    assert most.resizing == most.frames + 2 * 4 * options.num_frames * 64 * 80 * 3 * 4
