from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_clips import write_tree

from videomae_train.data.layout import SHARDS
from videomae_train.data.unfinished import UnfinishedSet
from videomae_train.errors import ConfigError

PLAN = {"work": "packing", "seed": 0}


@pytest.mark.parametrize("moment", ["before the plan is looked for", "after it"])
def test_begin__parts_that_start_in_the_same_moment_leave_each_others_files(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first part begins, and finishes a shard, while the second one looks around and finds nothing."""
    first, second = (UnfinishedSet(tmp_path, PLAN, own_shards=SHARDS) for _ in range(2))

    def meanwhile(look: Callable[..., object]) -> Callable[..., object]:
        def look_slowly(*arguments: object) -> object:
            found = look(*arguments)
            monkeypatch.undo()
            first.begin(overwrite=False)
            write_tree(
                tmp_path, {"shard-000000.tar": b"shard", "shard-000001.tar.0123456789ab.partial": b"begun"}
            )
            first.save(0, {"videos": 3}, of=PLAN)
            return found

        return look_slowly

    if moment == "after it":
        monkeypatch.setattr(Path, "is_file", meanwhile(Path.is_file))
    else:
        monkeypatch.setattr(second, "_occupied", meanwhile(second._occupied))
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
