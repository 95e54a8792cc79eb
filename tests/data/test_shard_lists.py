from __future__ import annotations

from pathlib import Path

import pytest
from foreign_shards import write_tar

from videomae_train.data.remote import RemoteFiles, RemoteOptions
from videomae_train.data.shard_lists import SplitRule, find_shards, parts_of_shards
from videomae_train.errors import ConfigError

FILES = RemoteFiles(RemoteOptions())


def test_find__a_folder_with_folders(tmp_path: Path) -> None:
    for name in ("b.tar", "a/1.tar", "a/0.tar", "notes.txt"):
        write_tar(tmp_path / name, [])
    shards = find_shards(str(tmp_path), FILES)
    assert shards.names == ("a/0.tar", "a/1.tar", "b.tar")
    assert shards.place("b.tar").path == tmp_path / "b.tar"


def test_find__through_links(tmp_path: Path) -> None:
    write_tar(tmp_path / "disk/0.tar", [])
    write_tar(tmp_path / "shards/val/1.tar", [])
    (tmp_path / "shards/train").symlink_to(tmp_path / "disk")
    (tmp_path / "shards/val/above").symlink_to(tmp_path / "shards")
    (tmp_path / "shards/val/lost.tar").symlink_to(tmp_path / "unmounted.tar")
    shards = find_shards(str(tmp_path / "shards"), FILES)
    assert shards.names == ("train/0.tar", "val/1.tar", "val/lost.tar"), "reading says which one is not there"


def test_find__patterns_and_lists(tmp_path: Path) -> None:
    shards = find_shards("s3://bucket/set/{train,val}-{00..01}.tar", FILES)
    assert str(shards.base) == "s3://bucket/set"
    assert shards.names == ("train-00.tar", "train-01.tar", "val-00.tar", "val-01.tar")
    (tmp_path / "list.txt").write_text("x/1.tar\n\ny/0.tar\n")
    assert find_shards(str(tmp_path / "list.txt"), FILES).names == ("x/1.tar", "y/0.tar")
    one = find_shards("https://host/a/b.tar", FILES)
    assert (str(one.base), one.names) == ("https://host/a", ("b.tar",))


def test_find__says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no \.tar file in it"):
        find_shards(str(tmp_path), FILES)
    with pytest.raises(ConfigError, match="no such folder"):
        find_shards(str(tmp_path / "nowhere"), FILES)
    (tmp_path / "shards.zip").touch()
    with pytest.raises(ConfigError, match="a file; expected a folder or URL"):
        find_shards(str(tmp_path / "shards.zip"), FILES)
    with pytest.raises(ConfigError, match="No such file"):
        find_shards(str(tmp_path / "list.txt"), FILES)
    with pytest.raises(ConfigError, match="listed twice"):
        find_shards("http://host/{a,a}.tar", FILES)
    with pytest.raises(ConfigError, match="no common folder"):
        find_shards("{http://a/x,http://b/y}.tar", FILES)


def test_parts__folders_only_where_every_shard_is_in_one() -> None:
    assert parts_of_shards(["train/a.tar", "validation/b.tar"], []) == {
        "train/a.tar": {"split": "train"},
        "validation/b.tar": {"split": "val"},
    }
    assert parts_of_shards(["train/a.tar", "b.tar"], []) == {"train/a.tar": {}, "b.tar": {}}


@pytest.mark.parametrize("text", ["train=*.tar", "split/=*", "/train=*", "split/train", ""])
def test_rules__wrong_ones(text: str) -> None:
    with pytest.raises(ConfigError, match="split, part and pattern"):
        SplitRule.parse(text)


def test_rules__fit_and_do_not_overlap() -> None:
    rules = [SplitRule("s", "train", "a*"), SplitRule("s", "test", "*")]
    with pytest.raises(ConfigError, match=r"a.tar is in another part"):
        parts_of_shards(["a.tar", "b.tar"], rules)
    with pytest.raises(ConfigError, match="fits no shard"):
        parts_of_shards(["b.tar"], rules)
