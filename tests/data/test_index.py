from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from videomae_train.data.index import PackedDataset
from videomae_train.data.layout import content_checksum
from videomae_train.data.pack_plan import PackOptions
from videomae_train.data.packing import pack
from videomae_train.data.sources import open_source
from videomae_train.errors import ConfigError, ShardError


def test_open__facts(packed: PackedDataset) -> None:
    assert packed.classes == ("jump", "run", "walk")
    assert packed.splits == {"split": ("test", "train")}
    assert packed.num_videos == 22
    assert np.bincount(packed.labels).tolist() == [10, 7, 5]
    assert (np.diff(packed.shard_numbers) >= 0).all()


def test_read_bytes__gives_each_video(packed: PackedDataset, class_folders: Path) -> None:
    originals = {content_checksum(path.read_bytes()): path for path in class_folders.rglob("*.mp4")}
    for row in range(packed.num_videos):
        path = originals.pop(content_checksum(packed.read_bytes(row)))
        assert packed.classes[packed.labels[row]] == path.parent.name
        assert packed.key(row).endswith(path.stem.replace(" ", "_"))
    assert not originals


def test_select__parts_are_disjoint_and_complete(packed: PackedDataset) -> None:
    train, test = packed.select("split/train"), packed.select("split/test")
    assert (len(train), len(test)) == (16, 6)
    rows = np.sort(np.concatenate([train.sample_ids, test.sample_ids]))
    assert rows.tolist() == packed.select("all").sample_ids.tolist() == list(range(22))
    assert len({train.fingerprint, test.fingerprint, packed.select().fingerprint}) == 3


def test_select__few_labels_per_class(packed: PackedDataset) -> None:
    two, three = (packed.select("split/train", per_class=count, seed=1) for count in (2, 3))
    assert np.bincount(two.labels).tolist() == [2, 2, 2]
    assert np.bincount(three.labels).tolist() == [3, 3, 3]
    assert set(two.sample_ids) < set(three.sample_ids) < set(packed.select("split/train").sample_ids)
    assert two.fingerprint == packed.select("split/train", per_class=2, seed=1).fingerprint
    others = [packed.select("split/train", per_class=2, seed=seed) for seed in range(2, 8)]
    assert any(other.fingerprint != two.fingerprint for other in others)


def test_select__few_labels_are_the_same_videos_however_they_were_packed(
    packed: PackedDataset, class_folders: Path, tmp_path: Path
) -> None:
    pack(
        open_source(class_folders / "list.csv"),
        tmp_path,
        PackOptions(seed=7, shard_max_videos=9),
        lambda _: None,
    )
    again = PackedDataset.open(tmp_path)
    chosen = [
        {dataset.key(row) for row in dataset.select("split/train", per_class=2, seed=1).sample_ids.tolist()}
        for dataset in (packed, again)
    ]
    assert [packed.key(row) for row in range(22)] != [again.key(row) for row in range(22)]
    assert chosen[0] == chosen[1]
    # The same on every machine: a hash decides, of seed, class and key.
    assert chosen[0] == {
        "jump__video_2", "jump__video_6", "run__video_4", "run__video_5", "walk__video_1", "walk__video_4",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["split/val", "split", "fold/train", "ALL", ""])
def test_select__unknown_names_list_the_known(packed: PackedDataset, name: str) -> None:
    with pytest.raises(ConfigError, match="expected one of all, split/test, split/train"):
        packed.select(name)


def test_select__too_few_of_a_class(packed: PackedDataset) -> None:
    with pytest.raises(ConfigError, match="5 videos of walk; expected 6 of each class"):
        packed.select(per_class=6)


def test_fingerprint__is_about_content_and_not_place(packed_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(packed_folder, tmp_path / "elsewhere")
    copy = PackedDataset.open(tmp_path / "elsewhere")
    assert copy.select().fingerprint == PackedDataset.open(packed_folder).select().fingerprint
    assert (
        copy.select().fingerprint == json.loads((packed_folder / "dataset.json").read_text())["fingerprint"]
    )


def test_selection__survives_pickling(packed: PackedDataset) -> None:
    selection = packed.select("split/train")
    selection.dataset.read_bytes(3)  # with an open file
    copy = pickle.loads(pickle.dumps(selection))
    selection.dataset._reader.close()
    assert copy.dataset.read_bytes(3) == packed.read_bytes(3)
    assert copy.labels.tolist() == selection.labels.tolist()
    assert "table" not in selection.dataset.__getstate__(), "the index is opened again, not sent"


def test_open__says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        PackedDataset.open(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="videomae pack SOURCE"):
        PackedDataset.open(tmp_path)


@pytest.fixture
def copied(packed_folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(packed_folder, tmp_path / "copy")
    return tmp_path / "copy"


def test_open__refuses_a_cut_or_missing_shard(copied: Path) -> None:
    shard = copied / "shard-000002.tar"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ShardError, match=r"shard-000002.tar: \d+ bytes; expected"):
        PackedDataset.open(copied)
    shard.unlink()
    with pytest.raises(ShardError, match="no such file"):
        PackedDataset.open(copied)


def test_read_bytes__never_gives_wrong_data(copied: Path) -> None:
    dataset = PackedDataset.open(copied)
    shard = copied / dataset.shard(0)
    good = shard.read_bytes()
    start = good.index(dataset.read_bytes(0))
    shard.write_bytes(good[: start + 50] + bytes([good[start + 50] ^ 1]) + good[start + 51 :])
    with pytest.raises(ShardError, match="bytes of another checksum"):
        PackedDataset.open(copied).read_bytes(0)
    fresh = PackedDataset.open(copied)
    shard.write_bytes(good[: start + 50])
    with pytest.raises(ShardError, match="50 of"):
        fresh.read_bytes(0)


def test_check_labelled(packed: PackedDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    packed.select().check_labelled()
    monkeypatch.setitem(packed.__dict__, "labels", np.where(np.arange(22) == 4, -1, packed.labels))
    with pytest.raises(ConfigError, match="1 of 22 videos without a label"):
        packed.select().check_labelled()
