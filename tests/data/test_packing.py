from __future__ import annotations

import errno
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import webdataset
from bad_decoders import probe_with_a_bad_decoder
from small_clips import encode, moving_frames, write_tree

from videomae_train.data import packing, set_files, shards
from videomae_train.data.index import PackedDataset
from videomae_train.data.keys import sample_keys
from videomae_train.data.pack_plan import PackOptions
from videomae_train.data.pack_summary import PackProgress, PackSummary
from videomae_train.data.packing import pack
from videomae_train.data.shards import ShardSample, write_shard
from videomae_train.data.sources import open_source
from videomae_train.errors import ConfigError, ShardError


def pack_quietly(source: Path, destination: Path, **options: object) -> PackSummary:
    return pack(open_source(source), destination, PackOptions(**options), lambda _: None)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_pack__same_bytes_for_any_number_of_processes(class_folders: Path, tmp_path: Path) -> None:
    (class_folders / "run/broken.mp4").write_bytes(b"rubbish")
    try:
        for processes in (1, 2):
            pack_quietly(class_folders, tmp_path / str(processes), shard_max_videos=5, processes=processes)
    finally:
        (class_folders / "run/broken.mp4").unlink()
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    assert len(list((tmp_path / "1").glob("shard-*.tar"))) == 5


def test_pack__the_seed_decides_the_order(class_folders: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        pack_quietly(class_folders, tmp_path / str(seed), seed=seed)
    first, second = (PackedDataset.open(tmp_path / str(seed)) for seed in (0, 1))
    keys = [[dataset.key(row) for row in range(dataset.num_videos)] for dataset in (first, second)]
    assert keys[0] != keys[1]
    assert sorted(keys[0]) == sorted(keys[1])
    assert len({int(label) for label in first.labels[:8]}) > 1, "classes are mixed"


def test_pack__keeps_every_byte_and_plain_webdataset_reads_it(class_folders: Path, tmp_path: Path) -> None:
    summary = pack_quietly(class_folders, tmp_path, shard_max_videos=8)
    urls = [str(tmp_path / shard.name) for shard in summary.shards]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert len(samples) == summary.num_videos == 22
    for sample in samples:
        metadata = json.loads(sample["json"])
        assert sample["mp4"] == (class_folders / metadata["origin"]).read_bytes()
        assert metadata["class"] == metadata["origin"].split("/")[0]


def test_pack__shards_close_by_size_too(class_folders: Path, tmp_path: Path) -> None:
    total = sum(path.stat().st_size for path in class_folders.rglob("*.mp4"))
    summary = pack_quietly(class_folders, tmp_path, shard_max_bytes=total // 3)
    assert len(summary.shards) >= 3


def test_pack__equal_stems_and_dots_stay_apart(clip: bytes, tmp_path: Path) -> None:
    other = encode(moving_frames(9))
    files = {
        "run/a.mp4": clip,
        "walk/a.mp4": other,
        "walk/a.b.mp4": clip,
        "walk/a.c.mp4": other,
        "walk/a.avi": clip,
        "walk/ä.mp4": other,
        "walk/ö.mp4": clip,
        "walk__a.mp4": clip,
        f"walk/{'long' * 50}.mp4": other,
    }
    source = write_tree(tmp_path / "source", files)
    summary = pack_quietly(source, tmp_path / "packed")
    assert summary.num_videos == len(files)
    found = {}
    for sample in webdataset.WebDataset(str(tmp_path / "packed/shard-000000.tar"), shardshuffle=False):
        origin = json.loads(sample["json"])["origin"]
        found[origin] = sample["mp4" if "mp4" in sample else "avi"]
    assert found == files
    dataset = PackedDataset.open(tmp_path / "packed")
    assert len({dataset.key(row) for row in range(dataset.num_videos)}) == len(files)


def test_sample_keys__do_not_depend_on_what_does_not_collide() -> None:
    alone = sample_keys(["run/a.mp4"])
    assert alone == {"run/a.mp4": "run__a"}
    assert sample_keys(["run/a.mp4", "run/b.mp4"])["run/a.mp4"] == "run__a"
    assert len({key.lower() for key in sample_keys(["A.mp4", "a.mp4", "a.avi"]).values()}) == 3


def test_pack__faults_are_listed_and_never_stop_it(clip: bytes, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "source", {"good.mp4": clip, "empty.mp4": b"", "broken.mp4": b"rubbish"})
    (source / "list.csv").write_text("path,label\ngood.mp4,a\nempty.mp4,a\nbroken.mp4,b\ngone.mp4,b\n")
    progress: list[PackProgress] = []
    summary = pack(open_source(source / "list.csv"), tmp_path / "packed", PackOptions(), progress.append)
    causes = {fault.name: fault.cause for fault in summary.faults}
    assert causes == {"empty.mp4": "empty", "broken.mp4": "undecodable", "gone.mp4": "missing"}
    assert progress[-1] == PackProgress(num_done=4, num_total=4, num_bytes=len(clip), num_faults=3)
    listed = json.loads((tmp_path / "packed/faults.json").read_text())["faults"]
    assert {fault["name"]: fault["cause"] for fault in listed} == causes
    assert json.loads((tmp_path / "packed/dataset.json").read_text())["num_faults"]["missing"] == 1
    assert (summary.num_videos, summary.num_frames, summary.duration_sec) == (1, 30, pytest.approx(1.2))


@pytest.mark.parametrize("processes", [1, 2])
def test_pack__survives_a_decoder_that_hangs_or_crashes(
    processes: int, clip: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = dict.fromkeys(["a/1.mp4", "a/crash.mp4", "b/2.mp4", "b/hang.mp4", "b/3.mp4"], clip)
    monkeypatch.setattr(packing, "probe_source", probe_with_a_bad_decoder)
    source = write_tree(tmp_path / "source", files)
    summary = pack_quietly(source, tmp_path / "packed", processes=processes, timeout_sec=1.0)
    faults = {fault.name: (fault.cause, fault.detail.split(";")[0]) for fault in summary.faults}
    assert summary.num_videos == 3
    assert faults == {
        "a/crash.mp4": ("undecodable", "a/crash.mp4: undecodable (the decoder died of SIGSEGV)"),
        "b/hang.mp4": ("timeout", "b/hang.mp4: timeout (not done after 1 s)"),
    }


def test_pack__a_shard_of_nothing_but_faults_is_left_out(clip: bytes, tmp_path: Path) -> None:
    files = {f"{number}.mp4": clip if number == 3 else b"" for number in range(6)}
    summary = pack_quietly(write_tree(tmp_path / "source", files), tmp_path / "packed", shard_max_videos=1)
    assert len(summary.shards) == 1
    dataset = PackedDataset.open(tmp_path / "packed")
    assert dataset.read_bytes(0) == clip


def test_pack__refuses_to_overwrite_unless_told(class_folders: Path, clip: bytes, tmp_path: Path) -> None:
    pack_quietly(class_folders, tmp_path / "packed", shard_max_videos=5)
    before = contents(tmp_path / "packed")
    with pytest.raises(ConfigError, match="there already"):
        pack_quietly(class_folders, tmp_path / "packed")
    assert contents(tmp_path / "packed") == before
    one = write_tree(tmp_path / "one", {"a.mp4": clip})
    pack_quietly(one, tmp_path / "packed", overwrite=True)
    assert set(contents(tmp_path / "packed")) == {
        "shard-000000.tar",
        "index.arrow",
        "faults.json",
        "dataset.json",
    }


def test_pack__interrupted_leaves_no_data_set(
    class_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(set_files, "write_index", full_disk)
        with pytest.raises(OSError, match="disk full"):
            pack_quietly(class_folders, tmp_path / "packed")
    with pytest.raises(ConfigError, match="no packed data set"):
        PackedDataset.open(tmp_path / "packed")
    assert pack_quietly(class_folders, tmp_path / "packed").num_videos == 22


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("place", ["a shard", "the index"])
def test_pack__a_full_disk_is_named_and_left_free(
    number: int, place: str, class_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        if place == "a shard":
            patch.setattr(shards, "_members", full_disk)
        else:
            patch.setattr(set_files, "write_index", full_disk)
        with pytest.raises(ShardError, match=rf"packed: {os.strerror(number)}; .* repeat the command"):
            pack_quietly(class_folders, tmp_path / "packed")
    assert not list((tmp_path / "packed").rglob("*.partial"))
    assert pack_quietly(class_folders, tmp_path / "packed").num_videos == 22


def test_shard__an_error_leaves_no_file(tmp_path: Path) -> None:
    def samples() -> Iterator[ShardSample]:
        yield ShardSample("a", "mp4", b"content", {})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path / "shard-000000.tar", samples())
    assert list(tmp_path.iterdir()) == []


def test_pack__nothing_readable(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "source", {"a.mp4": b"", "b.mp4": b"rubbish"})
    with pytest.raises(ConfigError, match=r"2 videos, none of which can be read \(1 "):
        pack_quietly(source, tmp_path / "packed")


def test_shards__same_bytes_whoever_writes_them(packed_folder: Path) -> None:
    with tarfile.open(next(packed_folder.glob("shard-*.tar"))) as archive:
        for member in archive.getmembers():
            assert (member.mtime, member.uid, member.mode) == (0, 0, 0o444)


CLIPS = Path(__file__).parents[2] / "../shared/data/ucf101_3cls"


@pytest.mark.slow
@pytest.mark.skipif(not CLIPS.is_dir(), reason="the real clips are not here")
def test_pack__real_clips_with_official_splits(tmp_path: Path) -> None:
    source = open_source(CLIPS / "videos_128", splits=CLIPS / "splits")
    summary = pack(source, tmp_path / "packed", PackOptions(processes=2), lambda _: None)
    assert (summary.num_videos, summary.faults) == (394, ())
    assert (summary.splits["split1/train"], summary.splits["split1/test"]) == (290, 104)
    assert summary.notes == ("394 videos were matched to the split lists by stem (other extension)",)
