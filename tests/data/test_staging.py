from __future__ import annotations

import errno
import os
import pickle
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from fault_server import serve
from small_options import GRID, decode_all, hide_most, loader_options, pretrain_options

from videomae_train.cli import videomae
from videomae_train.data import copying, staging
from videomae_train.data.copying import alone_in, copy_verified
from videomae_train.data.datamodule import PretrainDataModule
from videomae_train.data.index import PackedDataset
from videomae_train.data.pack_plan import PackOptions
from videomae_train.data.packing import pack
from videomae_train.data.reading import StorageOptions
from videomae_train.data.remote import RemoteOptions
from videomae_train.data.sources import open_source
from videomae_train.data.staging import StageProgress, StageSummary, stage
from videomae_train.errors import ConfigError, ShardError


def stage_quietly(source: str | Path, destination: Path, **options: object) -> StageSummary:
    return stage(source, destination, lambda _: None, **options)  # type: ignore[arg-type]


def same_bytes(one: PackedDataset, other: PackedDataset) -> bool:
    rows = range(one.num_videos)
    return [one.read_bytes(row) for row in rows] == [other.read_bytes(row) for row in rows]


def test_stage__a_run_on_the_copy_is_the_same_run(packed_folder: Path, tmp_path: Path) -> None:
    progress: list[StageProgress] = []
    summary = stage(packed_folder, tmp_path / "staged", progress.append)
    assert progress[-1].num_bytes == progress[-1].num_total_bytes == summary.num_bytes
    assert (summary.num_kept, summary.num_left_behind) == (0, 0)

    def first_batch(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
        data = PretrainDataModule(
            pretrain_options(path), loader_options(), mask_sampler=hide_most, decode_sampler=decode_all,
            grid=GRID, seed=0, global_batch=4, micro_batch=2,
        )  # fmt: skip
        batch = next(iter(data.train_dataloader()))
        return batch.clips, batch.sample_ids

    for ours, theirs in zip(first_batch(packed_folder), first_batch(summary.destination), strict=True):
        assert torch.equal(ours, theirs)


def test_stage__keeps_what_is_whole_and_copies_the_rest(
    packed_folder: Path, packed: PackedDataset, tmp_path: Path
) -> None:
    shutil.copytree(packed_folder, tmp_path / "served")
    storage = StorageOptions(cache_dir=tmp_path / "cache", remote=RemoteOptions(3, 0.01, 5))
    with serve(tmp_path / "served") as server:
        server.faults, server.only = ["500", "half", "flip"], ".tar"
        first = stage_quietly(server.url, tmp_path / "staged", storage=storage)
        assert same_bytes(PackedDataset.open(tmp_path / "staged"), packed)
        cut = tmp_path / "staged/shard-000001.tar"
        cut.write_bytes(cut.read_bytes()[:-1])
        flipped = tmp_path / "staged/shard-000002.tar"
        flipped.write_bytes(flipped.read_bytes()[:-1] + b"x")
        (tmp_path / "staged/shard-000003.tar").unlink()
        server.num_requests.clear()
        second = stage_quietly(server.url, tmp_path / "staged", storage=storage)
        fetched = sorted(name for name in server.num_requests if name.endswith(".tar"))
    assert fetched == ["shard-000001.tar", "shard-000002.tar", "shard-000003.tar"]
    assert second.num_kept == first.num_shards - 3
    assert same_bytes(PackedDataset.open(tmp_path / "staged"), packed)
    assert not list((tmp_path / "staged").glob("*.partial"))


def test_stage__what_a_selection_needs(packed_folder: Path, packed: PackedDataset, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(packed_folder, source)
    one = stage_first_shard(source, tmp_path / "staged")
    assert (one.num_shards, one.num_left_behind) == (1, len(set(packed.shard_numbers.tolist())) - 1)
    assert len(list((tmp_path / "staged").glob("*.tar"))) == 1
    staged = PackedDataset.open(tmp_path / "staged")
    assert same_bytes(staged, packed), "shards that stay behind are read at their old place"
    assert staged.select("split/test").sample_ids.tolist() == packed.select("split/test").sample_ids.tolist()
    more = stage_quietly(source, tmp_path / "staged")
    assert (more.num_kept, more.num_left_behind) == (one.num_shards, 0)
    shutil.rmtree(source)
    assert same_bytes(PackedDataset.open(tmp_path / "staged"), packed)


@pytest.fixture
def one_shard_a_part(class_folders: Path, tmp_path: Path) -> Path:
    """A set of two shards, of which each part needs one."""
    files = sorted(class_folders.rglob("*.mp4"))[:4]
    plan = "path,label,split\n" + "".join(
        f"{file},x,part{number // 2}\n" for number, file in enumerate(files)
    )
    for seed in range(100):
        (tmp_path / "list.csv").write_text(plan)
        folder = tmp_path / f"source {seed}"
        pack(
            open_source(tmp_path / "list.csv"),
            folder,
            PackOptions(seed=seed, shard_max_videos=2),
            lambda _: None,
        )
        dataset = PackedDataset.open(folder)
        if len(set(dataset.select("split/part0").shard_numbers.tolist())) == 1:
            return folder
    raise AssertionError("no seed divides them so")


def test_open__shards_elsewhere_are_asked_for_when_a_selection_needs_them(
    one_shard_a_part: Path, tmp_path: Path
) -> None:
    source = one_shard_a_part
    whole = PackedDataset.open(source)
    assert stage_quietly(source, tmp_path / "staged", selections=["split/part0"]).num_left_behind == 1
    (left_behind,) = set(whole.select("split/part1").shard_numbers.tolist())
    (source / f"shard-{left_behind:06d}.tar").rename(tmp_path / "unmounted.tar")

    staged = pickle.loads(pickle.dumps(PackedDataset.open(tmp_path / "staged")))
    assert len(staged.select("split/part0")) == 2
    for name in ("split/part1", "all"):
        with pytest.raises(ShardError, match=rf"{left_behind:06d}.tar: no such file.*staged reads it there"):
            staged.select(name)
    (source / f"shard-{left_behind:06d}.tar").write_bytes(b"another one")
    with pytest.raises(ShardError, match="11 bytes; expected"):
        staged.select("split/part1")

    own = next((tmp_path / "staged").glob("*.tar"))
    own.write_bytes(own.read_bytes()[:-1])
    with pytest.raises(ShardError, match=own.name):
        PackedDataset.open(tmp_path / "staged")


def stage_first_shard(source: Path, destination: Path) -> StageSummary:
    """Stage a selection that the first shard alone holds."""
    with pytest.MonkeyPatch.context() as patch:
        select = PackedDataset.select

        def first_only(self: PackedDataset, name: str = "all") -> object:
            selection = select(self, name)
            first = selection.sample_ids[selection.shard_numbers == 0]
            return type(selection)(self, name, first, selection.fingerprint)

        patch.setattr(PackedDataset, "select", first_only)
        return stage_quietly(source, destination, selections=["split/train"])


def test_stage__a_damaged_source_is_an_error(packed_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(packed_folder, tmp_path / "source")
    shard = tmp_path / "source/shard-000002.tar"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(ShardError, match=r"shard-000002.tar: bytes of the sha256"):
        stage_quietly(tmp_path / "source", tmp_path / "staged")
    assert not (tmp_path / "staged/dataset.json").exists()
    with pytest.raises(ConfigError):
        PackedDataset.open(tmp_path / "staged")


def test_stage__a_full_disk(packed_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        if str(arguments[3]).endswith("shard-000003.tar"):
            raise OSError(28, "No space left on device")
        copy_verified(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(staging, "copy_verified", full)
        with pytest.raises(ShardError, match=r"No space left on device.*which goes on"):
            stage_quietly(packed_folder, tmp_path / "staged")
    assert stage_quietly(packed_folder, tmp_path / "staged").num_kept >= 3


def stage_in_a_process(source: Path, destination: Path, die_at_bytes: int) -> subprocess.Popen[bytes]:
    script = """
import os, signal, sys
from pathlib import Path
from videomae_train.data.staging import stage
def die(progress):
    if progress.num_bytes >= int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
stage(sys.argv[1], Path(sys.argv[2]), die, threads=1)
"""
    arguments = [sys.executable, "-c", script, str(source), str(destination), str(die_at_bytes)]
    return subprocess.Popen(arguments, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})


def test_stage__removes_what_killed_ones_left(packed_folder: Path, tmp_path: Path) -> None:
    staged = tmp_path / "staged"
    killed = [stage_in_a_process(packed_folder, staged, 1).wait() for _ in range(2)]
    assert killed == [-9, -9]
    assert len(list(staged.glob("shard-*.partial"))) == 1, "the second one has removed that of the first"
    for name in ("dataset.json", "index.arrow"):
        (staged / f"{name}.0123456789ab.partial").write_bytes(b"half")
    (staged / "notes.partial").write_bytes(b"somebody's")
    stage_quietly(packed_folder, staged)
    assert [file.name for file in staged.glob("*.partial")] == ["notes.partial"]


def test_stage__waits_for_another_one(
    packed_folder: Path, packed: PackedDataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One that has the folder is not robbed of its files; what it staged is taken over."""
    with ThreadPoolExecutor(1) as pool, alone_in(tmp_path) as is_alone:
        assert is_alone
        half = tmp_path / "shard-000000.tar.0123456789ab.partial"
        half.write_bytes(b"half")
        waiting = pool.submit(stage_quietly, packed_folder, tmp_path)
        while "waiting for its end" not in caplog.text:
            assert not waiting.done()
            time.sleep(0.01)
        assert half.read_bytes() == b"half"
        shutil.copy(packed_folder / "shard-000000.tar", half)
        half.rename(tmp_path / "shard-000000.tar")
    assert waiting.result().num_kept == 1
    assert same_bytes(PackedDataset.open(tmp_path), packed)


def test_stage__a_disk_without_locks(
    packed_folder: Path, packed: PackedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    half = tmp_path / "shard-000000.tar.0123456789ab.partial"
    half.write_bytes(b"perhaps another process's")
    monkeypatch.setattr(copying.fcntl, "flock", no_locks)
    stage_quietly(packed_folder, tmp_path)
    assert half.exists()
    assert same_bytes(PackedDataset.open(tmp_path), packed)


def test_stage__not_over_another_set(packed_folder: Path, packed_motions: Path, tmp_path: Path) -> None:
    stage_quietly(packed_folder, tmp_path / "staged")
    with pytest.raises(ConfigError, match="another set"):
        stage_quietly(packed_motions, tmp_path / "staged")
    with pytest.raises(ConfigError, match="the set itself"):
        stage_quietly(packed_folder, packed_folder)
    with pytest.raises(ConfigError, match="no such selection"):
        stage_quietly(packed_folder, tmp_path / "new", selections=["split/nothing"])


def test_stage_command(packed_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["stage", str(packed_folder), str(tmp_path / "staged"), "--selection", "split/test"]
    videomae.main([*arguments, "--threads", "2"], standalone_mode=False)
    printed = capsys.readouterr().out
    assert f"data.path={tmp_path / 'staged'}" in printed
    assert "verified; 0 of them were there already" in printed
