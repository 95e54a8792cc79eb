from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_clips import write_tree

from videomae_train.cli import videomae
from videomae_train.commands.pack import rates_text, reencoding_of
from videomae_train.data.encoding import Reencoding
from videomae_train.data.pack_summary import PackProgress
from videomae_train.errors import ConfigError


def pack(*arguments: object) -> None:
    videomae.main(["pack", *map(str, arguments)], standalone_mode=False)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_pack_command__options_reach_the_set(class_folders: Path, tmp_path: Path) -> None:
    encoding = ["--short-side", 16, "--keyframe-interval", 4, "--crf", 30]
    pack(class_folders, tmp_path / "set", *encoding, "--shard-videos", 9, "--shard-mib", 3, "--seed", 7)
    packed = json.loads((tmp_path / "set/dataset.json").read_text())["packed"]
    assert (packed["seed"], packed["shard_max_videos"], packed["shard_max_bytes"]) == (7, 9, 3 * 2**20)
    reencoding = {name: packed["reencoding"][name] for name in ("short_side", "keyframe_interval", "crf")}
    assert reencoding == {"short_side": 16, "keyframe_interval": 4, "crf": 30}


def test_pack_command__parts_and_then_all(
    class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in ("1/2", "2/2"):
        pack(class_folders, tmp_path / "parts", "--shard-videos", 6, "--part", part)
        assert "without --part" in capsys.readouterr().out
    pack(class_folders, tmp_path / "parts", "--shard-videos", 6)
    assert "fingerprint" in capsys.readouterr().out
    pack(class_folders, tmp_path / "single", "--shard-videos", 6)
    assert contents(tmp_path / "parts") == contents(tmp_path / "single")


def test_pack_command__dry_run_says_what_and_writes_nothing(
    clip: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tree(
        tmp_path, {"a.mp4": clip, "list.csv": b"path,label,fold\na.mp4,run,train\ngone.mp4,walk,test\n"}
    )
    pack(tmp_path / "list.csv", tmp_path / "set", "--shard-videos", 1, "--dry-run")
    printed = capsys.readouterr().out
    for expected in ("2, 1 of them missing", "2: run, walk", "fold/test 1, fold/train 1", "in 2 shard(s)"):
        assert expected in printed
    assert "missing: gone.mp4" in printed
    assert not (tmp_path / "set").exists()


def test_pack_command__unlabelled_and_frames_are_passed_on(
    clip: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = write_tree(tmp_path / "videos", {"00/a.mp4": clip})
    pack(videos, tmp_path / "set", "--unlabelled", "--dry-run")
    assert "unlabelled" in capsys.readouterr().out
    frames = write_tree(tmp_path / "frames", {"run/a/1.png": b"x"})
    pack(frames, tmp_path / "set", "--frames-fps", 25, "--dry-run")
    printed = capsys.readouterr().out
    assert "frames" in printed
    assert "crf 23" in printed, "frames are encoded in any case"


def test_pack_command__wrong_values_are_explained(class_folders: Path, tmp_path: Path) -> None:
    for arguments, message in {
        ("--short-side", 17): "--short-side: 17",
        ("--part", "3/2"): "part: '3/2'",
    }.items():
        with pytest.raises(ConfigError, match=message):
            pack(class_folders, tmp_path / "set", *arguments)


def test_reencoding_of__none_given_keeps_bytes() -> None:
    assert reencoding_of(short_side=None, keyframe_interval=None, crf=None) is None
    assert reencoding_of(short_side=None, keyframe_interval=None, crf=20) == Reencoding(crf=20)


def test_rates_text__does_not_count_what_was_finished_before() -> None:
    progress = PackProgress(30, 40, 9_000_000, 0, num_kept=10, num_kept_bytes=1_000_000)
    assert rates_text(progress, 4.0) == "5.0 videos/s · 2.0 MB/s"
