from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from disks_in_trouble import failing
from small_clips import write_tree

from videomae_train.data import disk_trouble
from videomae_train.data.file_walk import files_below
from videomae_train.data.pack_plan import PackOptions
from videomae_train.data.packing import pack
from videomae_train.data.sources import open_source
from videomae_train.errors import ConfigError, VideoMAETrainError


def names_below(folder: Path) -> list[str]:
    return [file.path.relative_to(folder).as_posix() for file in files_below(folder)]


def test_files__classes_and_videos_may_be_links(tmp_path: Path) -> None:
    write_tree(tmp_path / "disk", {"walk/deep/a.mp4": b"", "b.mp4": b""})
    folder = write_tree(tmp_path / "videos", {"run/c.mp4": b""})
    (folder / "walk").symlink_to(tmp_path / "disk/walk")
    (folder / "again").symlink_to(tmp_path / "disk/walk")
    (folder / "run/b.mp4").symlink_to(tmp_path / "disk/b.mp4")
    source = open_source(folder)
    assert source.classes == ("again", "run", "walk")
    assert [video.name for video in source.videos] == [
        "again/deep/a.mp4", "run/b.mp4", "run/c.mp4", "walk/deep/a.mp4",
    ]  # fmt: skip


def test_files__links_to_folders_above_end(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "videos", {"run/a.mp4": b"", "walk/b.mp4": b""})
    (folder / "run/up").symlink_to(folder)
    (folder / "run/self").symlink_to(folder / "run")
    (folder / "walk/other").symlink_to(folder / "run")
    assert names_below(folder) == ["run/a.mp4", "walk/b.mp4", "walk/other/a.mp4"]


def test_files__links_without_a_target_become_faults(clip: bytes, tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "videos", {"run/a.mp4": clip})
    (folder / "walk").mkdir()
    (folder / "walk/lost.mp4").symlink_to(tmp_path / "unmounted/lost.mp4")
    (folder / "walk/loop.mp4").symlink_to(folder / "walk/loop.mp4")
    (folder / "jump").symlink_to(tmp_path / "unmounted/jump")
    summary = pack(open_source(folder), tmp_path / "packed", PackOptions(), lambda _: None)
    assert summary.classes == ("run", "walk")
    assert {fault.name: fault.cause for fault in summary.faults} == {
        "walk/lost.mp4": "missing",
        "walk/loop.mp4": "missing",
    }
    assert summary.notes == (f"1 links that lead nowhere were left out, such as {folder / 'jump'}",)


def test_files__what_is_no_file_is_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "link.mp4").symlink_to("/dev/null")
    assert names_below(tmp_path) == []


def test_files__a_folder_that_may_not_be_listed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(tmp_path, {"a/1.mp4": b"", "b/2.mp4": b""})
    monkeypatch.setattr(os, "scandir", failing(os.scandir, errno.EACCES, 1, only="b"))
    with pytest.raises(ConfigError, match=r"b: permission denied; expected a folder that may be listed"):
        files_below(tmp_path)


def test_files__a_disk_in_trouble_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tree(tmp_path, {"a/1.mp4": b"", "b/2.mp4": b""})
    monkeypatch.setattr(disk_trouble.time, "sleep", lambda _: None)
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", failing(scandir, errno.EIO, 2, only="b"))
    assert names_below(tmp_path) == ["a/1.mp4", "b/2.mp4"]
    monkeypatch.setattr(os, "scandir", failing(scandir, errno.EIO, 1000, only="b"))
    with pytest.raises(VideoMAETrainError, match=r"b: input/output error \(4 attempts\)"):
        files_below(tmp_path)
