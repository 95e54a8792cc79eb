from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bad_decoders import probe_tar_with_a_bad_decoder
from fault_server import serve
from foreign_shards import tar_bytes, write_tar
from small_clips import encode, moving_frames

from videomae_train.cli import videomae
from videomae_train.data import indexing, set_files
from videomae_train.data.index import PackedDataset
from videomae_train.data.index_plan import IndexOptions
from videomae_train.data.indexing import IndexProgress, index_shards
from videomae_train.data.pack_summary import PackSummary
from videomae_train.data.parts import Part
from videomae_train.data.reading import StorageOptions
from videomae_train.data.remote import RemoteOptions
from videomae_train.data.shard_lists import SplitRule
from videomae_train.errors import ConfigError, ShardError

CLIPS = [
    encode(moving_frames(10 + number, 32, 40, seed=number), options={"preset": "ultrafast"})
    for number in range(6)
]


def index(source: object, destination: Path | None = None, **options: object) -> PackSummary:
    return index_shards(str(source), destination, IndexOptions(**options), lambda _: None)  # type: ignore[arg-type]


def faults_of(folder: Path) -> dict[str, str]:
    listed = json.loads((folder / "faults.json").read_text())["faults"]
    return {fault["name"]: fault["cause"] for fault in listed}


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Two training shards and one for validation, with labels in .cls and in .json."""
    names = ["jump", "run", "walk"]
    for number, shard in enumerate(["train/000.tar", "train/001.tar", "val/000.tar"]):
        members: list[tuple[str, bytes]] = []
        for place in range(2):
            clip, label = 2 * number + place, (number + place) % 3
            members += [
                (f"clip{clip}.mp4", CLIPS[clip]),
                (f"clip{clip}.cls", f"{label}\n".encode()),
                (f"clip{clip}.json", json.dumps({"action": names[label], "id": label}).encode()),
            ]
        write_tar(tmp_path / "set" / shard, members)
    return tmp_path / "set"


def test_index__beside_the_shards(folders: Path) -> None:
    progress: list[IndexProgress] = []
    summary = index_shards(str(folders), None, IndexOptions(), progress.append)
    dataset = PackedDataset.open(folders)
    assert [dataset.read_bytes(row) for row in range(6)] == CLIPS
    assert dataset.labels.tolist() == [0, 1, 1, 2, 2, 0]
    assert dataset.classes == ("0", "1", "2")
    assert dataset.num_frames.tolist() == [10, 11, 12, 13, 14, 15]
    assert dataset.select("split/train").sample_ids.tolist() == [0, 1, 2, 3]
    assert dataset.select("split/val").sample_ids.tolist() == [4, 5]
    assert dataset.select().fingerprint == summary.fingerprint
    assert dataset.shard(4) == "val/000.tar"
    assert summary.splits == {"split/train": 4, "split/val": 2}
    assert [shard.num_videos for shard in summary.shards] == [2, 2, 2]
    assert (progress[0].num_videos, progress[-1].num_videos, progress[-1].num_shards_read) == (0, 6, 3)
    assert faults_of(folders) == {}


def test_index__elsewhere_points_to_the_shards(folders: Path, tmp_path: Path) -> None:
    index(folders, tmp_path / "index", label_key="action")
    dataset = PackedDataset.open(tmp_path / "index")
    assert dataset.classes == ("jump", "run", "walk")
    assert dataset.read_bytes(5) == CLIPS[5]
    assert dataset.shard(5) == str(folders / "val/000.tar")
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == [
        "dataset.json",
        "faults.json",
        "index.arrow",
    ]


def test_index__a_server_gives_the_same_index(folders: Path, tmp_path: Path) -> None:
    index(folders)
    here = PackedDataset.open(folders)
    storage = StorageOptions(cache_dir=tmp_path / "cache", remote=RemoteOptions(2, 0.01, 5))
    with serve(folders) as server:
        server.faults, server.only = ["500", "cut_connection"], ".tar"
        pattern = f"{server.url}/train/{{000..001}}.tar"
        index(pattern, tmp_path / "there", remote=storage.remote)
        there = PackedDataset.open(tmp_path / "there", storage)
        assert there.table.select(["key", "offset", "size", "checksum", "num_frames"]).equals(
            here.table.select(["key", "offset", "size", "checksum", "num_frames"]).slice(0, 4)
        )
        assert [there.read_bytes(row) for row in range(4)] == CLIPS[:4]
        shards = json.loads((tmp_path / "there/dataset.json").read_text())["shards"]
        assert shards[1]["name"] == f"{server.url}/train/001.tar"
        with pytest.raises(ConfigError, match="no folder for their index"):
            index(pattern)
        server.always = lambda _: "500"
        with pytest.raises(ShardError, match="Internal Server Error"):
            index(pattern, tmp_path / "more", remote=storage.remote)
        assert not (tmp_path / "more/dataset.json").exists()


def test_index__shards_that_pack_wrote(packed_folder: Path, packed: PackedDataset, tmp_path: Path) -> None:
    index(packed_folder, tmp_path / "again", label_key="class")
    again = PackedDataset.open(tmp_path / "again")
    assert again.select().fingerprint == packed.select().fingerprint
    columns = ["key", "shard", "offset", "size", "label", "num_frames", "checksum"]
    assert again.table.select(columns).equals(packed.table.select(columns))


def test_index__every_sample_is_in_the_set_or_a_fault(tmp_path: Path) -> None:
    write_tar(
        tmp_path / "a.tar",
        [
            ("good.mp4", CLIPS[0]),
            ("lonely.json", b"{}"),
            ("broken.mp4", CLIPS[1][:300]),
            ("empty.mp4", b""),
            ("twice.mp4", CLIPS[1]),
            ("twice.mp4", CLIPS[2]),
            ("two.mp4", CLIPS[1]),
            ("two.avi", CLIPS[2]),
            ("README", b"hello"),
            ("good.mp4", CLIPS[3]),
            ("fine.left.MP4", CLIPS[4]),
        ],
    )
    index(tmp_path)
    dataset = PackedDataset.open(tmp_path)
    assert [dataset.key(row) for row in range(dataset.num_videos)] == ["good", "fine"]
    assert dataset.read_bytes(1) == CLIPS[4]
    assert faults_of(tmp_path) == {
        "a.tar/lonely": "missing",
        "a.tar/broken.mp4": "undecodable",
        "a.tar/empty.mp4": "empty",
        "a.tar/twice": "duplicate",
        "a.tar/two": "several videos",
        "a.tar/README": "no sample",
        "a.tar/good": "duplicate",
    }


def test_index__samples_without_a_label_are_faults_where_others_have_one(tmp_path: Path) -> None:
    members = [("a.mp4", CLIPS[0]), ("a.cls", b"run"), ("b.mp4", CLIPS[1]), ("c.mp4", CLIPS[2])]
    write_tar(tmp_path / "x.tar", [*members, ("c.cls", b"walk"), ("c.json", b'{"label": 7}')])
    index(tmp_path)
    assert PackedDataset.open(tmp_path).classes == ("run", "walk")
    assert PackedDataset.open(tmp_path).labels.tolist() == [0, 1]
    assert faults_of(tmp_path) == {"x.tar/b.mp4": "no label"}
    index(tmp_path, label_key="label", overwrite=True)
    assert faults_of(tmp_path) == {"x.tar/a": "no label", "x.tar/b": "no label"}
    assert PackedDataset.open(tmp_path).labels.tolist() == [7]
    index(tmp_path, unlabelled=True, overwrite=True)
    assert PackedDataset.open(tmp_path).labels.tolist() == [-1, -1, -1]
    assert faults_of(tmp_path) == {}


def test_index__names_and_labels_that_are_no_text(tmp_path: Path) -> None:
    members = [("caf?.mp4", CLIPS[0]), ("a.mp4", CLIPS[1]), ("a.json", rb'{"label": "caf\udce9"}')]
    content = tar_bytes([*members, ("b.mp4", CLIPS[2]), ("b.json", '{"label": "café"}'.encode())])
    header = content[:512].replace(b"caf?", b"caf\xe9")
    blank = header[:148] + b" " * 8 + header[156:]
    header = blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]
    (tmp_path / "x.tar").write_bytes(header + content[512:])
    index(tmp_path, label_key="label")
    assert faults_of(tmp_path) == {r"x.tar/caf\xe9.mp4": "no sample", "x.tar/a": "no label"}
    assert PackedDataset.open(tmp_path).classes == ("café",)


def cut(content: bytes, at: int) -> bytes:
    return content[:at]


WHOLE = tar_bytes((f"{number}.mp4", clip) for number, clip in enumerate(CLIPS[:3]))
SECOND_HEADER = 512 + -(-len(CLIPS[0]) // 512) * 512


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: cut(whole, SECOND_HEADER),  # exactly between two samples: looks like a shorter archive
        lambda whole: cut(whole, SECOND_HEADER + 200),  # in a header
        lambda whole: cut(whole, SECOND_HEADER + 700),  # in a video
        lambda whole: (
            whole[: SECOND_HEADER + 148] + b"~" + whole[SECOND_HEADER + 149 :]
        ),  # a header's checksum
        lambda whole: cut(whole, 0),
        lambda whole: b"not a tar file" * 100,
        lambda whole: tar_bytes([("a.mp4", CLIPS[0])], mode="w:gz"),
    ],
)
def test_index__a_cut_shard_is_left_out_and_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    write_tar(tmp_path / "good.tar", [("other.mp4", CLIPS[5])])
    (tmp_path / "bad.tar").write_bytes(damage(WHOLE))
    summary = index(tmp_path)
    assert faults_of(tmp_path)["bad.tar"] == "cut shard"
    assert summary.num_videos == 1
    dataset = PackedDataset.open(tmp_path)
    assert dataset.read_bytes(0) == CLIPS[5]
    assert dataset.shard(0) == "good.tar"
    (tmp_path / "good.tar").unlink()
    with pytest.raises(ConfigError, match=r"none of which can be read \(.*1 cut shard"):
        index(tmp_path, overwrite=True)


def test_index__shards_that_each_count_anew(tmp_path: Path) -> None:
    for number in range(2):
        write_tar(tmp_path / f"{number}.tar", [("000.mp4", CLIPS[number])])
    with pytest.raises(ConfigError, match=r"the key 000 in 0.tar and in 1.tar.*--key-with-shard"):
        index(tmp_path)
    index(tmp_path, key_with_shard=True)
    dataset = PackedDataset.open(tmp_path)
    assert [dataset.key(row) for row in range(2)] == ["0/000", "1/000"]
    with pytest.raises(ConfigError, match="there already"):
        index(tmp_path, key_with_shard=True)


def test_index__named_classes(folders: Path, tmp_path: Path) -> None:
    index(folders, tmp_path / "index", classes=("jump", "run", "walk"), label_key="id")
    dataset = PackedDataset.open(tmp_path / "index")
    assert dataset.classes == ("jump", "run", "walk")
    assert dataset.labels.tolist() == [0, 1, 1, 2, 2, 0]
    with pytest.raises(ConfigError, match="2 names, none for the label 2"):
        index(folders, tmp_path / "other", classes=("jump", "run"))


def test_index__numbers_that_are_no_class_numbers(tmp_path: Path) -> None:
    for number, label in enumerate((b"7", b"007", b"20261129123456")):
        write_tar(tmp_path / f"{number}.tar", [(f"{number}.mp4", CLIPS[number]), (f"{number}.cls", label)])
    assert index(tmp_path, part=Part(3, 3)).classes == ("20261129123456",), "a part does not know all labels"
    with pytest.raises(ConfigError, match=r"2 different labels, .* 20261129123457 classes.*--classes"):
        index(tmp_path)
    with pytest.raises(ConfigError, match="8 names, none for the label 20261129123456"):
        index(tmp_path, classes=tuple("abcdefgh"))
    assert index(tmp_path, unlabelled=True).classes == ()


def test_index__a_full_disk_is_named(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(set_files, "write_index", full_disk)
        with pytest.raises(ShardError, match=r"index: No space left on device; .* repeat the command"):
            index(folders, tmp_path / "index")
    assert index(folders, tmp_path / "index").num_videos == 6


def test_index__survives_decoders_that_crash_or_hang(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "probe_tar_video", probe_tar_with_a_bad_decoder)
    index(folders, tmp_path / "index", processes=2, timeout_sec=1.0)
    causes = {"train/000.tar/clip1.mp4": "undecodable", "train/001.tar/clip2.mp4": "timeout"}
    assert faults_of(tmp_path / "index") == causes
    assert PackedDataset.open(tmp_path / "index").num_videos == 4


def test_index__splits_by_pattern(folders: Path, tmp_path: Path) -> None:
    rules = [SplitRule.parse(text) for text in ("fold1/a=*/000.tar", "fold1/b=*/001.tar", "fold2/a=val/*")]
    index(folders, tmp_path / "index", splits=rules)
    dataset = PackedDataset.open(tmp_path / "index")
    assert dataset.splits == {"fold1": ("a", "b"), "fold2": ("a",)}
    assert dataset.select("fold1/a").sample_ids.tolist() == [0, 1, 4, 5]
    assert dataset.select("fold2/a").sample_ids.tolist() == [4, 5]


def test_index_command(folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = tmp_path / "classes.txt"
    names.write_text("jump\nrun\nwalk\n")
    options = ["--split", "split1/test=val/*", "--classes", names, "--processes", 1]
    videomae.main(["index", *map(str, [folders, tmp_path / "index", *options])], standalone_mode=False)
    printed = capsys.readouterr().out
    for expected in ("Indexed into", "3: jump, run, walk", "split1/test 2", "3 shard(s)", "faults"):
        assert expected in printed
    assert np.bincount(PackedDataset.open(tmp_path / "index").labels).tolist() == [2, 2, 2]
    names.write_text("jump\njump\n")
    with pytest.raises(ConfigError, match="a name twice"):
        videomae.main(["index", str(folders), "--classes", str(names)], standalone_mode=False)
