from __future__ import annotations

import errno
import fcntl
import logging
import os
import resource
import signal
import time
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from fault_server import FaultServer, serve

from videomae_train.data.cache import ShardCache
from videomae_train.data.copying import FileFacts
from videomae_train.data.locations import Location
from videomae_train.data.remote import RemoteFiles, RemoteOptions
from videomae_train.errors import ShardError

SIZE = 50_000
CONTENTS = [np.random.default_rng(number).bytes(SIZE) for number in range(8)]
FACTS = [FileFacts(SIZE, sha256(content).hexdigest()) for content in CONTENTS]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    folder = tmp_path_factory.mktemp("served")
    for number, content in enumerate(CONTENTS):
        (folder / f"{number}.tar").write_bytes(content)
    with serve(folder) as server:
        yield server


def cache_of(folder: Path, num_shards: float) -> ShardCache:
    return ShardCache(folder, int(num_shards * SIZE), RemoteFiles(RemoteOptions(1, 0.01, 20)))


def store(cache: ShardCache, url: str, number: int) -> None:
    cache.store(Location.of(url) / f"{number}.tar", FACTS[number])


def name(number: int) -> str:
    return str(FACTS[number].sha256)


def kept(folder: Path) -> set[int]:
    names = {path.name for path in (folder / "shards").iterdir()} - {"lock"}
    return {number for number in range(len(FACTS)) if name(number) in names}


def test_store__then_read(served: FaultServer, tmp_path: Path) -> None:
    cache = cache_of(tmp_path, 2)
    assert cache.read(name(0), 5, 10) is None
    store(cache, served.url, 0)
    assert cache.read(name(0), 5, 10) == CONTENTS[0][5:15]
    before = served.num_bytes
    store(cache, served.url, 0)
    assert served.num_bytes == before


def test_store__evicts_what_was_read_longest_ago(served: FaultServer, tmp_path: Path) -> None:
    cache = cache_of(tmp_path, 3.5)
    for number in (0, 1, 2):
        store(cache, served.url, number)
        os.utime(tmp_path / "shards" / name(number), (number, number))  # times that cannot be equal
    cache.read(name(0), 0, 1)
    store(cache, served.url, 3)
    assert kept(tmp_path) == {0, 2, 3}
    store(cache, served.url, 4)
    assert kept(tmp_path) == {0, 3, 4}


def test_store__keeps_all_if_evicting_would_not_help(served: FaultServer, tmp_path: Path) -> None:
    store(cache_of(tmp_path, 1), served.url, 0)
    store(cache_of(tmp_path, 0.5), served.url, 1)
    assert kept(tmp_path) == {0}


def test_store__nothing_without_a_limit(served: FaultServer, tmp_path: Path) -> None:
    store(cache_of(tmp_path / "cache", 0), served.url, 0)
    assert not (tmp_path / "cache").exists()


def test_store__what_is_being_fetched_counts_and_is_left_alone(served: FaultServer, tmp_path: Path) -> None:
    cache = cache_of(tmp_path, 2)
    store(cache, served.url, 0)
    other = tmp_path / "shards" / f"{name(1)}.partial"
    with other.open("wb") as stream:  # as another process would hold it
        fcntl.flock(stream, fcntl.LOCK_EX)
        os.truncate(stream.fileno(), SIZE)
        store(cache, served.url, 1)  # theirs
        store(cache, served.url, 2)
        assert kept(tmp_path) == {2}, "there was room for one beside theirs"
        assert other.exists()
    store(cache, served.url, 3)  # the other process is gone now
    assert not other.exists()
    assert kept(tmp_path) == {2, 3}


def test_store__a_wrong_shard_is_refused_after_a_second_try(served: FaultServer, tmp_path: Path) -> None:
    cache = cache_of(tmp_path, 2)
    served.faults = ["flip"]
    store(cache, served.url, 0)
    assert cache.read(name(0), 0, SIZE) == CONTENTS[0]
    served.faults = ["flip", "flip"]
    with pytest.raises(ShardError, match=f"bytes of the sha256 .* expected {name(1)}"):
        store(cache, served.url, 1)
    assert [path.name for path in (tmp_path / "shards").glob("*.partial")] == []
    assert kept(tmp_path) == {0}


def use_tiny_cache(url: str, folder: Path, seed: int) -> tuple[int, int]:
    """Read through the cache in a random order; how many reads were right, and how many came from it."""
    rng = np.random.default_rng(seed)
    cache = cache_of(folder, 2.2)
    right = hits = 0
    for _ in range(60):
        number, offset = int(rng.integers(len(CONTENTS))), int(rng.integers(SIZE - 100))
        content = cache.read(name(number), offset, 100)
        if content is None:
            store(cache, url, number)
            content = cache.read(name(number), offset, 100)
        hits += content is not None
        right += content in (None, CONTENTS[number][offset : offset + 100])
    return right, hits


def test_many_processes__never_a_wrong_byte(served: FaultServer, tmp_path: Path) -> None:
    with get_context("fork").Pool(6) as pool:
        results = pool.map(partial(use_tiny_cache, served.url, tmp_path), range(6))
    assert [right for right, _ in results] == [60] * 6
    assert sum(hits for _, hits in results) > 0, "how many is a matter of time"
    files = [path for path in (tmp_path / "shards").iterdir() if path.name != "lock"]
    assert sum(path.stat().st_size for path in files) <= 2.2 * SIZE
    assert not [path for path in files if path.name.endswith(".partial")]
    assert all(sha256(path.read_bytes()).hexdigest() == path.name for path in files)


def store_slowly(url: str, folder: Path) -> None:
    store(cache_of(folder, 3), url, 0)


def test_many_processes__a_killed_one_leaves_nothing_behind(served: FaultServer, tmp_path: Path) -> None:
    served.faults = ["slow"]
    child = get_context("fork").Process(target=store_slowly, args=(served.url, tmp_path))
    child.start()
    partial_file = tmp_path / "shards" / f"{name(0)}.partial"
    deadline = time.monotonic() + 20
    while not partial_file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join()
    assert partial_file.exists()
    store(cache_of(tmp_path, 3), served.url, 1)
    assert not partial_file.exists()
    store(cache_of(tmp_path, 3), served.url, 0)
    assert kept(tmp_path) == {0, 1}


def store_under_limit(url: str, folder: Path, log: Path) -> tuple[bytes | None, set[int]]:
    """The kernel refuses files of more than 20 kB: a real error of a real write."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    logging.basicConfig(filename=log, force=True)
    cache = cache_of(folder, 3)
    for number in range(3):
        store(cache, url, number)
    return cache.read(name(0), 0, 10), kept(folder)


def test_full_disk__the_kernel_refuses_the_file(served: FaultServer, tmp_path: Path) -> None:
    with get_context("fork").Pool(1) as pool:
        content, files = pool.apply(store_under_limit, (served.url, tmp_path, tmp_path / "log"))
    assert (content, files) == (None, set())
    assert not list((tmp_path / "shards").glob("*.partial"))
    assert (tmp_path / "log").read_text().count("No more shards are stored here") == 1


@pytest.mark.parametrize("call", ["posix_fallocate", "truncate"])
def test_full_disk__one_warning_and_nothing_more_is_stored(
    served: FaultServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    call: str,
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    cache = cache_of(tmp_path, 3)
    store(cache, served.url, 0)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        store(cache, served.url, 1)
        store(cache, served.url, 2)
    assert caplog.text.count("No space left on device. No more shards") == 1
    assert kept(tmp_path) == {0}
    assert not list((tmp_path / "shards").glob("*.partial"))
    assert cache.read(name(0), 0, 10) == CONTENTS[0][:10], "what is there is still read"
