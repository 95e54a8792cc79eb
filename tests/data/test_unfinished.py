from __future__ import annotations

from pathlib import Path

import pytest

from videomae_train.data.layout import SHARDS
from videomae_train.data.unfinished import UnfinishedSet
from videomae_train.errors import ConfigError

PLAN = {"work": "packing", "seed": 0}


def test_begin__parts_that_start_in_the_same_moment_leave_each_others_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first part begins and finishes a shard at the worst time: when the second has looked, and found nothing."""
    first = UnfinishedSet(tmp_path, PLAN, own_shards=SHARDS)
    second = UnfinishedSet(tmp_path, PLAN, own_shards=SHARDS)
    look = second._occupied

    def look_and_wait() -> ConfigError | None:
        found = look()
        first.begin(overwrite=False)
        (tmp_path / "shard-000000.tar").write_bytes(b"shard")
        (tmp_path / "shard-000001.tar.0123456789ab.partial").write_bytes(b"begun")
        first.save(0, {"videos": 3}, of=PLAN)
        return found

    monkeypatch.setattr(second, "_occupied", look_and_wait)
    second.begin(overwrite=False)
    assert second.load(0, of=PLAN) == {"videos": 3}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".unfinished",
        "shard-000000.tar",
        "shard-000001.tar.0123456789ab.partial",
    ]


def test_load__only_what_was_noted_of_the_same(tmp_path: Path) -> None:
    unfinished = UnfinishedSet(tmp_path, PLAN, own_shards=SHARDS)
    unfinished.begin(overwrite=False)
    unfinished.save(3, {"videos": 3}, of={"seed": 0})
    assert unfinished.load(3, of={"seed": 1}) is None
    assert unfinished.load(2, of={"seed": 0}) is None


def test_begin__long_differences_are_cut(tmp_path: Path) -> None:
    UnfinishedSet(tmp_path, {**PLAN, "classes": ["a"] * 1000}, own_shards="").begin(overwrite=False)
    other = UnfinishedSet(tmp_path, {**PLAN, "classes": ["b"] * 1000}, own_shards="")
    with pytest.raises(ConfigError, match=r"classes \['a', .*\.\.\., now \['b'") as caught:
        other.begin(overwrite=False)
    assert len(str(caught.value)) < 600
