from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from interruptions import Killed, contents, files_moved, run_script
from small_clips import write_tree

from videomae_train.data.encoding import Reencoding
from videomae_train.data.index import PackedDataset
from videomae_train.data.pack_plan import PackOptions, plan_packing
from videomae_train.data.pack_summary import PackProgress, PackSummary
from videomae_train.data.packing import pack
from videomae_train.data.parts import Part
from videomae_train.data.sources import open_source
from videomae_train.errors import ConfigError


def pack_quietly(
    source: Path, destination: Path, on_progress: Callable[[PackProgress], None] = lambda _: None, **options
) -> PackSummary:
    return pack(open_source(source), destination, PackOptions(shard_max_videos=8, **options), on_progress)


@pytest.fixture(scope="module")
def videos(class_folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """25 videos, 3 of them faulty, in 4 shards."""
    folder = tmp_path_factory.mktemp("videos") / "source"
    shutil.copytree(class_folders, folder)
    return write_tree(folder, {"run/empty.mp4": b"", "walk/rubbish.mp4": b"rubbish", "jump/x.mp4": b"x"})


@pytest.fixture(scope="module")
def straight(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("straight")
    pack_quietly(videos, folder)
    return contents(folder)


def stop_after(count: int) -> Callable[[PackProgress], None]:
    def on_progress(progress: PackProgress) -> None:
        if progress.num_done == count:
            raise Killed

    return on_progress


@pytest.mark.parametrize("count", [0, 5, 8, 17, 25])
def test_pack__continues_with_the_same_bytes(
    count: int, videos: Path, straight: dict[str, bytes], tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        pack_quietly(videos, tmp_path, stop_after(count))
    with pytest.raises(ConfigError, match="no packed data set"):
        PackedDataset.open(tmp_path)
    seen: list[PackProgress] = []
    pack_quietly(videos, tmp_path, seen.append)
    assert seen[0].num_kept == seen[0].num_done == max(0, count - 1) // 8 * 8
    assert len(seen) == 1 + 25 - seen[0].num_kept, "finished shards are not probed again"
    assert contents(tmp_path) == straight


@pytest.mark.parametrize("after", [False, True])
def test_pack__continues_from_every_step_of_its_own(
    after: bool, videos: Path, straight: dict[str, bytes], tmp_path: Path
) -> None:
    for kill_at in range(1, 100):
        folder = tmp_path / str(kill_at)
        with pytest.MonkeyPatch.context() as patch:
            noted = files_moved(patch, kill_at, after=after)
            try:
                pack_quietly(videos, folder)
                break
            except Killed:
                pass
        if (folder / "dataset.json").exists() and not (folder / ".unfinished/plan.json").exists():
            with pytest.raises(ConfigError, match="there already"):
                pack_quietly(videos, folder)
        else:
            pack_quietly(videos, folder)
        found = contents(folder)
        assert {name: found[name] for name in found if not name.startswith(".unfinished")} == straight, noted[
            -1
        ]
    assert kill_at > 8


def test_pack__is_done_before_it_tidies_up(
    videos: Path, straight: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(folder: Path) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(Killed):
            pack_quietly(videos, tmp_path)
    with pytest.raises(ConfigError, match="there already"):
        pack_quietly(videos, tmp_path)
    assert {name: data for name, data in contents(tmp_path).items() if name in straight} == straight


SCRIPT = """
import os, signal, sys
from pathlib import Path
from videomae_train.data.packing import pack
from videomae_train.data.pack_plan import PackOptions
from videomae_train.data.sources import open_source
source, destination, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
def on_progress(progress):
    if progress.num_done == count:
        os.kill(os.getpid(), signal.SIGKILL)
if __name__ == "__main__":
    pack(open_source(source), destination, PackOptions(shard_max_videos=8, processes=2), on_progress)
"""


def test_pack__killed_and_started_again(videos: Path, straight: dict[str, bytes], tmp_path: Path) -> None:
    assert run_script(tmp_path / "packing.py", SCRIPT, videos, tmp_path / "packed", 12) == -9
    assert any((tmp_path / "packed").glob("*.partial")), "killed in the middle of a shard"
    pack_quietly(videos, tmp_path / "packed")
    assert contents(tmp_path / "packed") == straight


def test_pack__makes_a_damaged_shard_again(videos: Path, straight: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(Killed):
        pack_quietly(videos, tmp_path, stop_after(25))
    for number, damaged in (
        (0, lambda whole: whole[:-1]),
        (1, lambda whole: whole[:600] + b"?" + whole[601:]),
    ):
        shard = tmp_path / f"shard-{number:06d}.tar"
        shard.write_bytes(damaged(shard.read_bytes()))
    seen: list[PackProgress] = []
    pack_quietly(videos, tmp_path, seen.append)
    assert seen[0].num_kept == 8, "the third shard"
    assert contents(tmp_path) == straight


def test_pack__makes_a_shard_again_whose_receipt_is_cut(
    videos: Path, straight: dict[str, bytes], tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        pack_quietly(videos, tmp_path, stop_after(20))
    receipt = tmp_path / ".unfinished/shard-000001.json"
    receipt.write_bytes(receipt.read_bytes()[:50])
    pack_quietly(videos, tmp_path)
    assert contents(tmp_path) == straight


def test_pack__refuses_to_continue_something_else(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        pack_quietly(videos, tmp_path / "packed", stop_after(10))
    before = contents(tmp_path / "packed")
    for message, change in {
        "seed 0, now 1": {"seed": 1},
        "reencoding None, now {'short_side': 16": {"reencoding": Reencoding(short_side=16)},
    }.items():
        with pytest.raises(ConfigError, match=f"unfinished packing of something else: {message}"):
            pack_quietly(videos, tmp_path / "packed", **change)
    other = shutil.copytree(videos, tmp_path / "other")
    (other / "run/empty.mp4").unlink()
    with pytest.raises(ConfigError, match="num_videos 25, now 24"):
        pack_quietly(other, tmp_path / "packed")
    assert contents(tmp_path / "packed") == before
    pack_quietly(other, tmp_path / "packed", overwrite=True)
    pack_quietly(other, tmp_path / "fresh")
    assert contents(tmp_path / "packed") == contents(tmp_path / "fresh")


def test_pack__shards_of_unknown_origin_stay(videos: Path, tmp_path: Path) -> None:
    write_tree(tmp_path, {"shard-000000.tar": b"somebody's"})
    with pytest.raises(ConfigError, match="shards without a description"):
        pack_quietly(videos, tmp_path)
    assert contents(tmp_path) == {"shard-000000.tar": b"somebody's"}


def test_pack__parts_make_the_set_of_a_single_run(
    videos: Path, straight: dict[str, bytes], tmp_path: Path
) -> None:
    for number in (3, 1, 2):
        part = pack_quietly(videos, tmp_path, part=Part(number, 3))
        assert (part.part, len(part.shards)) == (f"{number}/3", 2 if number == 1 else 1)
    with pytest.raises(ConfigError, match="no packed data set"):
        PackedDataset.open(tmp_path)
    seen: list[PackProgress] = []
    assert pack_quietly(videos, tmp_path, seen.append).part is None
    assert len(seen) == 1, "nothing is probed again"
    assert contents(tmp_path) == straight


def test_pack__without_a_part_what_is_missing_is_packed(
    videos: Path, straight: dict[str, bytes], tmp_path: Path
) -> None:
    pack_quietly(videos, tmp_path, part=Part(2, 3))
    pack_quietly(videos, tmp_path)
    assert contents(tmp_path) == straight


def test_part__covers_each_shard_once_and_is_read_from_text(videos: Path) -> None:
    plan = plan_packing(open_source(videos), PackOptions(shard_max_videos=3))
    parts = [plan.shard_numbers(Part.parse(f"{number}/4")) for number in range(1, 5)]
    assert sorted(itertools.chain(*parts)) == plan.shard_numbers(None)
    for wrong in ("0/4", "5/4", "1", "1/0", "a/b", "-1/3"):
        with pytest.raises(ConfigError, match="part: "):
            Part.parse(wrong)


def test_pack__a_part_overwrites_nothing(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none removes the others"):
        pack_quietly(videos, tmp_path, part=Part(1, 2), overwrite=True)
