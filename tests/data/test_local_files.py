from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path

import pytest
from disks_in_trouble import failing

from videomae_train.data import disk_trouble
from videomae_train.data.cache import ShardCache
from videomae_train.data.local_files import LocalFiles, read_range
from videomae_train.data.remote import RemoteFiles, RemoteOptions
from videomae_train.errors import ShardError

CONTENT = bytes(range(256)) * 4
OF_THE_DISK = [errno.EIO, errno.ESTALE, errno.ETIMEDOUT]


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []
    monkeypatch.setattr(disk_trouble.time, "sleep", taken.append)
    return taken


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "shard.tar").write_bytes(CONTENT)
    return tmp_path / "shard.tar"


@pytest.fixture
def few_bytes_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Linux does past 2 GiB."""
    pread = os.pread
    monkeypatch.setattr(
        os, "pread", lambda descriptor, size, offset: pread(descriptor, min(size, 100), offset)
    )


@pytest.mark.parametrize(("offset", "size"), [(0, 1024), (3, 250), (5, 0), (1000, 24)])
@pytest.mark.usefixtures("few_bytes_a_call")
def test_read__more_than_one_call_gives(offset: int, size: int, file: Path, tmp_path: Path) -> None:
    expected = CONTENT[offset : offset + size]
    assert LocalFiles(RemoteOptions()).read(file, offset, size) == expected
    (tmp_path / "shards").mkdir()
    file.rename(tmp_path / "shards/abc")
    assert ShardCache(tmp_path, 10**6, RemoteFiles(RemoteOptions())).read("abc", offset, size) == expected


@pytest.mark.usefixtures("few_bytes_a_call")
def test_read__a_cut_file_is_an_error(file: Path) -> None:
    with pytest.raises(ShardError, match="24 of 25 bytes at 1000"):
        LocalFiles(RemoteOptions()).read(file, 1000, 25)
    with file.open("rb") as stream:
        assert read_range(stream.fileno(), 1000, 5000) == CONTENT[1000:]


@pytest.mark.parametrize("number", OF_THE_DISK)
@pytest.mark.parametrize("call", ["open", "pread"])
def test_read__a_disk_in_trouble_is_asked_as_often_as_a_server(
    number: int, call: str, file: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    files, only = (
        LocalFiles(RemoteOptions(retries=3, first_delay_sec=2.0)),
        file.name if call == "open" else "",
    )
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(getattr(os, call), number, 3, only=only))
        assert files.read(file, 7, 20) == CONTENT[7:27]
    assert pauses == [2.0, 4.0, 8.0]
    fresh = pickle.loads(pickle.dumps(files))
    monkeypatch.setattr(os, call, failing(getattr(os, call), number, 4, only=only))
    with pytest.raises(ShardError, match=r"shard.tar: .*Check the disk, or the server"):
        fresh.read(file, 7, 20)
    assert fresh.read(file, 7, 20) == CONTENT[7:27], "the next read begins anew"


def test_read__a_stale_file_is_opened_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that gives no more of a file as it was opened gives it to who opens it again."""
    files, pread, stale = LocalFiles(RemoteOptions()), os.pread, file.stat().st_ino
    files.read(file, 0, 1)
    new = file.with_name("new")
    new.write_bytes(CONTENT[::-1])
    new.replace(file)

    def read(descriptor: int, size: int, offset: int) -> bytes:
        if os.fstat(descriptor).st_ino == stale:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return pread(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", read)
    assert files.read(file, 0, 10) == CONTENT[::-1][:10]


def test_read__a_file_that_is_not_there_is_an_error_at_once(tmp_path: Path, pauses: list[float]) -> None:
    with pytest.raises(ShardError, match=r"nowhere.tar: No such file or directory"):
        LocalFiles(RemoteOptions()).read(tmp_path / "nowhere.tar", 0, 1)
    assert pauses == []
