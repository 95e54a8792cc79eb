from __future__ import annotations

import errno
from pathlib import Path

import pytest
from disks_in_trouble import failing, probe_on_a_bad_disk
from interruptions import contents
from small_clips import write_tree

from videomae_train.data import disk_trouble, packing
from videomae_train.data.pack_plan import PackOptions, plan_packing
from videomae_train.data.pack_summary import PackSummary
from videomae_train.data.packing import pack
from videomae_train.data.source_files import open_source_file, read_source_file
from videomae_train.data.sources import open_source
from videomae_train.errors import DecodeError, VideoMAETrainError

OF_THE_DISK = [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE]


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []
    monkeypatch.setattr(disk_trouble.time, "sleep", taken.append)
    return taken


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EISDIR, errno.ELOOP])
def test_read__what_is_wrong_with_the_file_is_its_fault_at_once(
    number: int, tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_bytes", failing(Path.read_bytes, number, 1))
    with pytest.raises(DecodeError, match="a: missing"):
        read_source_file(tmp_path / "a.mp4", "a")
    assert pauses == []


@pytest.mark.parametrize("number", OF_THE_DISK)
def test_read__a_disk_in_trouble_is_asked_again(
    number: int, tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"content")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", failing(Path.read_bytes, number, 3))
        assert read_source_file(tmp_path / "a.mp4", "a") == b"content"
    assert pauses == sorted(pauses)
    assert sum(pauses) < 10, "a few seconds"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", failing(Path.open, number, 2))
        with open_source_file(tmp_path / "a.mp4", "a") as stream:
            assert stream.read() == b"content"


@pytest.mark.parametrize("number", OF_THE_DISK)
def test_read__a_disk_that_stays_in_trouble_is_no_fault_of_the_video(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_bytes", failing(Path.read_bytes, number, 1000))
    with pytest.raises(VideoMAETrainError, match=r"a\.mp4: .* \(4 attempts\)") as caught:
        read_source_file(tmp_path / "a.mp4", "a")
    assert not isinstance(caught.value, DecodeError)


def pack_quietly(source: Path, destination: Path) -> PackSummary:
    return pack(open_source(source), destination, PackOptions(shard_max_videos=2), lambda _: None)


def test_pack__ends_at_a_disk_in_trouble_and_goes_on_when_repeated(
    clip: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = dict.fromkeys(["a/1.mp4", "a/2.mp4", "a/lost.mp4", "b/3.mp4", "b/4.mp4"], clip)
    source = write_tree(tmp_path / "source", files)
    with monkeypatch.context() as patch:
        patch.setattr(packing, "probe_source", probe_on_a_bad_disk)
        with pytest.raises(VideoMAETrainError, match=r"a/lost.mp4: input/output error") as caught:
            pack_quietly(source, tmp_path / "packed")
    assert not isinstance(caught.value, DecodeError)
    assert not list((tmp_path / "packed").glob("*.partial"))
    assert (tmp_path / "packed/.unfinished/plan.json").exists()
    summary = pack_quietly(source, tmp_path / "packed")
    assert (summary.num_videos, summary.faults) == (5, ())
    pack_quietly(source, tmp_path / "straight")
    assert contents(tmp_path / "packed") == contents(tmp_path / "straight")


def test_plan__a_disk_in_trouble_makes_no_other_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(write_tree(tmp_path, {"a/1.mp4": b"12", "b/2.mp4": b"3"}))
    plan = plan_packing(source, PackOptions())
    stat = Path.stat
    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", failing(stat, errno.ESTALE, 2, only="1.mp4"))
        assert plan_packing(source, PackOptions()) == plan
        patch.setattr(Path, "stat", failing(stat, errno.ESTALE, 1000, only="1.mp4"))
        with pytest.raises(VideoMAETrainError, match=r"1\.mp4"):
            plan_packing(source, PackOptions())
