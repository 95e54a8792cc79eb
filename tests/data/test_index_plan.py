from __future__ import annotations

from pathlib import Path

import pytest
from foreign_shards import write_tar
from index_runs import CLIPS, NAMES, index, no_children, write_shards
from interruptions import Killed, contents

from videomae_train.data import indexing
from videomae_train.data.index import PackedDataset
from videomae_train.data.indexing import IndexProgress
from videomae_train.data.pack_plan import PackOptions
from videomae_train.data.packing import pack
from videomae_train.data.parts import Part
from videomae_train.data.shard_lists import SplitRule
from videomae_train.data.sources import open_source
from videomae_train.errors import ConfigError


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return write_shards(tmp_path / "shards")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "children_at_work", no_children)


@pytest.mark.usefixtures("quick")
def test_index__refuses_to_continue_with_other_options(shards: Path, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    index(shards, folder, part=Part(1, 2))
    before = contents(folder)
    changes: dict[str, dict[str, object]] = {
        "label_key None, now action": {"label_key": "action"},
        "unlabelled False, now True": {"unlabelled": True},
        "key_with_shard False, now True": {"key_with_shard": True},
        r"classes \[\], now \['run', 'walk'\]": {"classes": ("run", "walk")},
        r"splits \[\], now \['a/b=val\*'\]; key_with": {
            "splits": (SplitRule.parse("a/b=val*"),), "key_with_shard": True,
        },
    }  # fmt: skip
    for message, change in changes.items():
        with pytest.raises(ConfigError, match=f"unfinished indexing of something else: {message}"):
            index(shards, folder, **change)
    (shards / NAMES[3]).unlink()
    with pytest.raises(ConfigError, match="num_shards 4, now 3"):
        index(shards, folder)
    assert contents(folder) == before
    index(shards, folder, overwrite=True)
    index(shards, tmp_path / "fresh")
    assert contents(folder) == contents(tmp_path / "fresh")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("options", "num_kept"), [({"unlabelled": True}, 18), ({"label_key": "action"}, 0)])
def test_index__overwriting_keeps_what_the_options_do_not_change(
    options: dict[str, object], num_kept: int, shards: Path, tmp_path: Path
) -> None:
    index(shards, tmp_path / "index", part=Part(1, 1))
    seen: list[IndexProgress] = []
    index(shards, tmp_path / "index", seen.append, overwrite=True, **options)
    assert seen[-1].num_kept == num_kept
    index(shards, tmp_path / "fresh", **options)
    assert contents(tmp_path / "index") == contents(tmp_path / "fresh")


@pytest.mark.usefixtures("quick")
def test_index__options_that_lead_nowhere_cost_no_second_reading(tmp_path: Path) -> None:
    for number in range(2):
        write_tar(tmp_path / f"{number}.tar", [("000.mp4", CLIPS[number]), ("000.cls", b"7")])
    with pytest.raises(ConfigError, match=r"the key 000 in 0.tar and in 1.tar"):
        index(tmp_path, None)
    with pytest.raises(ConfigError, match="none for the label 7"):
        index(tmp_path, None, key_with_shard=True, classes=("run",))
    seen: list[IndexProgress] = []
    index(tmp_path, None, seen.append, key_with_shard=True)
    assert seen[-1].num_kept == 2
    assert not (tmp_path / ".unfinished").exists()


@pytest.mark.usefixtures("quick")
def test_index__an_old_index_serves_until_the_new_one_is_complete(shards: Path) -> None:
    index(shards, None)
    old = PackedDataset.open(shards).select().fingerprint

    def stop(progress: IndexProgress) -> None:
        if progress.num_shards_read == 2:
            raise Killed

    with pytest.raises(Killed):
        index(shards, None, stop, overwrite=True, label_key="action")
    assert PackedDataset.open(shards).select().fingerprint == old
    index(shards, None, label_key="action")
    assert PackedDataset.open(shards).classes == ("act0", "act1", "act2")


@pytest.mark.usefixtures("quick")
def test_index_and_pack__do_not_work_in_one_folder(shards: Path, class_folders: Path, tmp_path: Path) -> None:
    index(shards, tmp_path / "index", part=Part(1, 2))
    with pytest.raises(ConfigError, match="unfinished indexing of something else: now packing"):
        pack(open_source(class_folders), tmp_path / "index", PackOptions(), lambda _: None)
    pack(open_source(class_folders), tmp_path / "packed", PackOptions(part=Part(1, 1)), lambda _: None)
    with pytest.raises(ConfigError, match="unfinished packing of something else: now indexing"):
        index(tmp_path / "packed", None)
