from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_server import serve
from index_runs import NAMES, index, no_children, rewrite, write_shards
from interruptions import Killed, contents

from videomae_train.data import indexing
from videomae_train.data.indexing import IndexProgress
from videomae_train.data.parts import Part
from videomae_train.data.remote import RemoteOptions
from videomae_train.errors import ShardError


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return write_shards(tmp_path / "shards")


@pytest.fixture
def straight(shards: Path, tmp_path: Path) -> dict[str, bytes]:
    index(shards, tmp_path / "straight")
    return contents(tmp_path / "straight")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "children_at_work", no_children)


def alter_in_place(shard: Path) -> None:
    """Another label, but the length and the time of writing stay."""
    before, content = shard.stat(), shard.read_bytes()
    shard.write_bytes(content.replace(b"walk", b"jump"))
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert shard.stat().st_size == before.st_size


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("change", [rewrite, alter_in_place])
def test_index__a_shard_that_has_changed_is_read_again_and_named(
    change: Callable[[Path], None], shards: Path, straight: dict[str, bytes], tmp_path: Path
) -> None:
    index(shards, tmp_path / "index", part=Part(1, 2))
    index(shards, tmp_path / "index", part=Part(2, 2))
    change(shards / NAMES[1])
    seen: list[IndexProgress] = []
    summary = index(shards, tmp_path / "index", seen.append)
    assert summary.notes == ("1 shard(s) changed since they were read, and were read again: train/001.tar",)
    assert seen[-1].num_kept == 13, "of the other three"
    index(shards, tmp_path / "fresh")
    assert contents(tmp_path / "index") == contents(tmp_path / "fresh") != straight


@pytest.mark.usefixtures("quick")
def test_index__a_shard_that_changes_while_it_is_read_is_read_again(shards: Path, tmp_path: Path) -> None:
    def on_progress(progress: IndexProgress) -> None:
        if progress.num_videos == 7:
            alter_in_place(shards / NAMES[1])
        if progress.num_shards_read == 3:
            raise Killed

    with pytest.raises(Killed):
        index(shards, tmp_path / "index", on_progress)
    assert "train/001.tar" in index(shards, tmp_path / "index").notes[0]
    index(shards, tmp_path / "fresh")
    assert contents(tmp_path / "index") == contents(tmp_path / "fresh")


@pytest.mark.usefixtures("quick")
def test_index__a_shard_with_the_same_bytes_is_not_decoded_again(
    shards: Path, straight: dict[str, bytes], tmp_path: Path
) -> None:
    index(shards, tmp_path / "index", part=Part(1, 1))
    shutil.copyfile(shards / NAMES[0], tmp_path / "copy.tar")
    (tmp_path / "copy.tar").replace(shards / NAMES[0])
    seen: list[IndexProgress] = []
    assert index(shards, tmp_path / "index", seen.append).notes == ()
    assert seen[-1].num_kept == 18
    assert contents(tmp_path / "index") == straight


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("states_version", [True, False])
def test_index__of_a_server_asks_for_versions_else_compares_checksums(
    states_version: bool, shards: Path, tmp_path: Path
) -> None:
    with serve(shards) as server:
        server.states_version = states_version
        pattern = f"{server.url}/train/{{000..002}}.tar"
        remote = RemoteOptions(1, 0.01, 5)
        index(pattern, tmp_path / "straight", remote=remote)
        server.num_requests.clear()
        index(pattern, tmp_path / "index", remote=remote, part=Part(1, 2))
        assert sorted(server.num_requests) == [NAMES[0], NAMES[2]]
        server.num_requests.clear()
        server.always = lambda name: "500" if name == NAMES[1] else None
        with pytest.raises(ShardError, match="Internal Server Error"):
            index(pattern, tmp_path / "index", remote=remote)
        server.always = lambda _: None
        server.num_requests.clear()
        seen: list[IndexProgress] = []
        index(pattern, tmp_path / "index", seen.append, remote=remote)
        assert seen[-1].num_kept == 10
        assert sorted(server.num_requests) == ([NAMES[1]] if states_version else list(NAMES[:3]))
        assert contents(tmp_path / "index") == contents(tmp_path / "straight")
        index(pattern, tmp_path / "changed", remote=remote, part=Part(1, 1))
        alter_in_place(shards / NAMES[1])
        assert "again: 001.tar" in index(pattern, tmp_path / "changed", remote=remote).notes[0]
