"""Sets behind servers: the same bytes as on this machine, or an error."""

from __future__ import annotations

import json
import logging
import pickle
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from fault_server import FaultServer, serve
from moto.server import ThreadedMotoServer
from small_options import GRID, decode_all, hide_most, loader_options, pretrain_options

from videomae_train.data.datamodule import PretrainDataModule
from videomae_train.data.index import PackedDataset
from videomae_train.data.reading import StorageOptions
from videomae_train.data.remote import RemoteOptions
from videomae_train.errors import ConfigError, ShardError
from videomae_train.types import PretrainBatch

QUICK = RemoteOptions(retries=2, first_delay_sec=0.01, timeout_sec=5)


@pytest.fixture
def server(packed_folder: Path, tmp_path: Path) -> Iterator[FaultServer]:
    shutil.copytree(packed_folder, tmp_path / "served")
    with serve(tmp_path / "served") as server:
        yield server


def storage(tmp_path: Path, cache_gib: float = 0) -> StorageOptions:
    return StorageOptions(cache_dir=tmp_path / "cache", cache_gib=cache_gib, remote=QUICK)


def bytes_of(dataset: PackedDataset) -> list[bytes]:
    return [dataset.read_bytes(row) for row in range(dataset.num_videos)]


def test_http__the_same_set_as_on_this_machine(
    server: FaultServer, packed: PackedDataset, tmp_path: Path
) -> None:
    dataset = PackedDataset.open(server.url, storage(tmp_path))
    assert bytes_of(dataset) == bytes_of(packed)
    assert dataset.select("split/train").fingerprint == packed.select("split/train").fingerprint
    assert dataset.shard(5) == packed.shard(5)
    assert dataset.where(5).startswith(f"{server.url}/shard-")
    copy = pickle.loads(pickle.dumps(dataset.select()))
    assert copy.dataset.read_bytes(3) == packed.read_bytes(3)


def test_http__the_index_is_fetched_once_per_machine(server: FaultServer, tmp_path: Path) -> None:
    for _ in range(3):
        PackedDataset.open(server.url, storage(tmp_path))
    assert server.num_requests["index.arrow"] == 1
    (cached,) = (tmp_path / "cache/indexes").glob("*.arrow")
    cached.write_bytes(cached.read_bytes()[:-1] + b"x")
    PackedDataset.open(server.url, storage(tmp_path))
    assert server.num_requests["index.arrow"] == 2, "a damaged copy is fetched again"


def test_http__an_index_that_is_another_ones(server: FaultServer, tmp_path: Path) -> None:
    index = server.folder / "index.arrow"
    index.write_bytes(index.read_bytes()[:-8] + bytes(8))
    with pytest.raises(ShardError, match=r"index.arrow: bytes of the sha256"):
        PackedDataset.open(server.url, storage(tmp_path))
    assert not list((tmp_path / "cache/indexes").glob("*.arrow"))


@pytest.mark.parametrize("change", ["description without it", "another packing"])
def test_http__sets_without_the_indexs_checksum_open(
    server: FaultServer, tmp_path: Path, change: str
) -> None:
    file = server.folder / "dataset.json"
    description = json.loads(file.read_text())
    del description["index"]
    file.write_text(json.dumps(description))
    PackedDataset.open(server.url, storage(tmp_path))
    description["notes"] = [change]
    file.write_text(json.dumps(description))
    PackedDataset.open(server.url, storage(tmp_path))
    assert server.num_requests["index.arrow"] == 2, "another description may mean another index"


def test_http__no_set_there(server: FaultServer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no packed data set"):
        PackedDataset.open(f"{server.url}/nowhere", storage(tmp_path))
    (server.folder / "dataset.json").write_text("{")
    with pytest.raises(ShardError, match="no JSON object"):
        PackedDataset.open(server.url, storage(tmp_path))


def test_http__no_room_for_the_index(server: FaultServer, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(ConfigError, match="cache_dir"):
        PackedDataset.open(server.url, storage(tmp_path))


def test_http__flipped_bytes_are_asked_for_again(
    server: FaultServer, packed: PackedDataset, tmp_path: Path
) -> None:
    dataset = PackedDataset.open(server.url, storage(tmp_path))
    server.faults = ["flip"]
    assert dataset.read_bytes(0) == packed.read_bytes(0)
    server.always = lambda _: "flip"
    with pytest.raises(ShardError, match=rf"{dataset.where(0)}: bytes of another checksum"):
        dataset.read_bytes(0)


def test_http__a_cut_shard_is_an_error(server: FaultServer, tmp_path: Path) -> None:
    dataset = PackedDataset.open(server.url, storage(tmp_path))
    shard = server.folder / dataset.shard(0)
    shard.write_bytes(shard.read_bytes()[:600])
    with pytest.raises(ShardError, match=rf"{shard.name}: EOFError: \d+ of \d+ bytes .*3 attempts"):
        dataset.read_bytes(0)


def test_local__an_index_that_is_another_ones(packed_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(packed_folder, folder)
    content = (folder / "index.arrow").read_bytes()
    place = content.index(PackedDataset.open(folder).key(0).encode())
    (folder / "index.arrow").write_bytes(content[:place] + b"~" + content[place + 1 :])
    with pytest.raises(ShardError, match=r"another index; expected the one that dataset.json"):
        PackedDataset.open(folder)


def wait_for_shards(cache: Path, count: int) -> None:
    deadline = time.monotonic() + 30
    while sum(not f.name.endswith((".partial", "lock")) for f in cache.glob("shards/*")) < count:
        assert time.monotonic() < deadline, "the shards never arrive"
        time.sleep(0.01)


def test_cache__whole_shards_come_once(server: FaultServer, packed: PackedDataset, tmp_path: Path) -> None:
    dataset = PackedDataset.open(server.url, storage(tmp_path, 1))
    num_shards = len(set(packed.shard_numbers.tolist()))
    assert bytes_of(dataset) == bytes_of(packed), "nobody waits for a whole shard"
    wait_for_shards(tmp_path / "cache", num_shards)
    before = server.num_bytes
    assert bytes_of(dataset) == bytes_of(packed)
    assert bytes_of(PackedDataset.open(server.url, storage(tmp_path, 1))) == bytes_of(packed)
    assert server.num_bytes - before < 10_000, "only dataset.json is asked for"


def test_cache__expected_shards_arrive_unread(server: FaultServer, tmp_path: Path) -> None:
    dataset = PackedDataset.open(server.url, storage(tmp_path, 1))
    dataset.expect(0)
    wait_for_shards(tmp_path / "cache", 1)
    dataset.expect(0)
    server.always = lambda _: "500"
    dataset.read_bytes(0)
    with_no_cache = PackedDataset.open(server.folder, storage(tmp_path, 1))
    with_no_cache.expect(0)  # on this machine there is nothing to fetch


def test_cache__a_damaged_copy_is_never_given_out(
    server: FaultServer, packed: PackedDataset, tmp_path: Path
) -> None:
    dataset = PackedDataset.open(server.url, storage(tmp_path, 1))
    dataset.expect(0)
    wait_for_shards(tmp_path / "cache", 1)
    (cached,) = (f for f in (tmp_path / "cache/shards").iterdir() if f.name != "lock")
    cached.write_bytes(bytes(cached.stat().st_size))
    assert dataset.read_bytes(0) == packed.read_bytes(0)


def test_cache__a_shard_of_another_checksum_is_not_kept(
    server: FaultServer, packed: PackedDataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = PackedDataset.open(server.url, storage(tmp_path, 1))
    shard = server.folder / dataset.shard(0)
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")  # in the padding: no video is touched
    with caplog.at_level(logging.WARNING):
        assert dataset.read_bytes(0) == packed.read_bytes(0)
        deadline = time.monotonic() + 30
        while "not kept" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "bytes of the sha256" in caplog.text
    assert dataset.read_bytes(0) == packed.read_bytes(0)


def batches(path: str | Path, options: StorageOptions, workers: int, count: int) -> list[PretrainBatch]:
    data = PretrainDataModule(
        pretrain_options(path),
        replace(loader_options(workers), storage=options),
        mask_sampler=hide_most,
        decode_sampler=decode_all,
        grid=GRID,
        seed=3,
        global_batch=4,
        micro_batch=2,
    )
    loader = iter(data.train_dataloader())
    return [next(loader) for _ in range(count)]


@pytest.mark.parametrize(("workers", "cache_gib"), [(0, 0.0), (2, 0.0), (2, 1.0)])
def test_loader__remote_batches_equal_local_ones(
    server: FaultServer, packed_folder: Path, tmp_path: Path, workers: int, cache_gib: float
) -> None:
    local = batches(packed_folder, StorageOptions(), 0, 6)
    server.faults, server.only = ["500", "half", "flip"], ".tar"
    there = batches(server.url, storage(tmp_path, cache_gib), workers, 6)
    for ours, theirs in zip(local, there, strict=True):
        assert torch.equal(ours.clips, theirs.clips)
        assert torch.equal(ours.sample_ids, theirs.sample_ids)
        assert torch.equal(ours.visible_idx, theirs.visible_idx)


def test_loader__shards_are_expected_one_window_ahead(
    packed_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected: list[int] = []
    monkeypatch.setattr(PackedDataset, "expect", lambda _, sample_id: expected.append(sample_id))
    data = PretrainDataModule(
        pretrain_options(packed_folder, shuffle_window_videos=8),
        loader_options(),
        mask_sampler=hide_most,
        decode_sampler=decode_all,
        grid=GRID,
        seed=3,
        global_batch=2,
        micro_batch=2,
    )
    for position in range(3):
        data.dataset[position]
    assert expected == [data.dataset.order.sample_at(position + 8)[1] for position in range(3)]


def test_loader__a_dead_server_ends_the_run_with_our_error(server: FaultServer, tmp_path: Path) -> None:
    server.always = lambda name: "500" if name.endswith(".tar") else None
    with pytest.raises(ShardError, match=r"shard-\d+.tar: .*Internal Server Error.*\(3 attempts\)"):
        batches(server.url, storage(tmp_path), 2, 1)


@pytest.fixture
def s3_address(packed_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The packed set in a bucket of an S3 server on loopback, which is found as a MinIO would be."""
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()
    bucket = fsspec.filesystem("s3")
    bucket.mkdir("videos")
    bucket.put(str(packed_folder), "videos/sets/", recursive=True)
    yield f"s3://videos/sets/{packed_folder.name}"
    bucket.clear_instance_cache()
    server.stop()


def test_s3__the_same_set_as_on_this_machine(
    s3_address: str, packed: PackedDataset, packed_folder: Path, tmp_path: Path
) -> None:
    dataset = PackedDataset.open(s3_address, storage(tmp_path))
    assert bytes_of(dataset) == bytes_of(packed)
    assert np.array_equal(dataset.labels, packed.labels)
    local = batches(packed_folder, StorageOptions(), 0, 3)
    there = batches(s3_address, storage(tmp_path, 1), 2, 3)
    assert all(torch.equal(ours.clips, theirs.clips) for ours, theirs in zip(local, there, strict=True))
    with pytest.raises(ConfigError, match="no packed data set"):
        PackedDataset.open("s3://videos/nothing", storage(tmp_path))
