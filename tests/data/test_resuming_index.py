from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fault_server import serve
from index_runs import NAMES, index, no_children, rewrite, write_shards
from interruptions import Killed, contents, files_moved, run_script

from videomae_train.cli import videomae
from videomae_train.data import indexing
from videomae_train.data.index import PackedDataset
from videomae_train.data.indexing import IndexProgress
from videomae_train.data.parts import Part
from videomae_train.errors import ConfigError


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return write_shards(tmp_path / "shards")


@pytest.fixture
def straight(shards: Path, tmp_path: Path) -> dict[str, bytes]:
    index(shards, tmp_path / "straight")
    return contents(tmp_path / "straight")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "children_at_work", no_children)


def test_index__straight_has_what_the_other_tests_want_to_see(straight: dict[str, bytes]) -> None:
    assert sorted(straight) == ["dataset.json", "faults.json", "index.arrow"]
    causes = [fault["cause"] for fault in json.loads(straight["faults.json"])["faults"]]
    assert [causes.count(c) for c in ("undecodable", "missing", "cut shard", "no label")] == [4, 4, 1, 3]


SCRIPT = """
import os, signal, sys
from pathlib import Path
from videomae_train.data.indexing import index_shards
from videomae_train.data.index_plan import IndexOptions

source, destination, moments = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def index_until(moment):
    rename = Path.replace
    def on_progress(now):
        if moment in (f"{now.num_videos} videos", f"{now.num_shards_read} shards"):
            die()
    def replace(file, target):
        if Path(target).name == moment:
            die()
        return rename(file, target)
    Path.replace = replace
    index_shards(source, destination, IndexOptions(processes=2), on_progress)

if __name__ == "__main__":
    for moment in moments:
        child = os.fork()  # a process of its own for each moment, without another second for imports
        if child == 0:
            index_until(moment)
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert ended == -signal.SIGKILL, (moment, ended)
        assert (destination / ".unfinished/plan.json").exists()
        assert not (destination / "dataset.json").exists()
"""


@contextmanager
def source_of(shards: Path, kind: str) -> Iterator[str]:
    """The folder, or its address on a server."""
    if kind == "folder":
        yield str(shards)
        return
    with serve(shards) as server:
        server.states_version = True
        listing = shards.parent / "list.txt"
        listing.write_text("\n".join(f"{server.url}/{name}" for name in NAMES))
        yield str(listing)


@pytest.mark.parametrize(
    ("kind", "moments", "num_kept"),
    [
        pytest.param("folder", ("6 videos", "2 shards", "dataset.json"), 18, marks=pytest.mark.slow),
        ("server", ("1 shards", "8 videos"), 5),
    ],
)
def test_index__killed_and_started_again(
    kind: str, moments: tuple[str, ...], num_kept: int, shards: Path, tmp_path: Path
) -> None:
    seen: list[IndexProgress] = []
    with source_of(shards, kind) as source:
        index(source, tmp_path / "straight")
        assert run_script(tmp_path / "script.py", SCRIPT, source, tmp_path / "index", *moments) == 0
        with pytest.raises(ConfigError, match="no packed data set"):
            PackedDataset.open(tmp_path / "index")
        index(source, tmp_path / "index", seen.append, processes=2)
    assert contents(tmp_path / "index") == contents(tmp_path / "straight")
    assert seen[-1].num_kept >= num_kept


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("after", [False, True])
def test_index__continues_from_every_step_of_its_own(
    after: bool, shards: Path, straight: dict[str, bytes], tmp_path: Path
) -> None:
    for kill_at in range(1, 100):
        folder = tmp_path / str(kill_at)
        with pytest.MonkeyPatch.context() as patch:
            noted = files_moved(patch, kill_at, after=after)
            try:
                index(shards, folder)
                break
            except Killed:
                pass
        if not (folder / "dataset.json").exists() or (folder / ".unfinished/plan.json").exists():
            index(shards, folder)
        found = contents(folder)
        assert {name: found[name] for name in found if not name.startswith(".unf")} == straight, noted[-1]
    assert kill_at > 8


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("count", [1, 4, 5, 9, 17])
def test_index__reads_no_shard_twice(
    count: int, shards: Path, straight: dict[str, bytes], tmp_path: Path
) -> None:
    def stop(progress: IndexProgress) -> None:
        if progress.num_videos == count:
            raise Killed

    with pytest.raises(Killed):
        index(shards, tmp_path / "index", stop)
    seen: list[IndexProgress] = []
    index(shards, tmp_path / "index", seen.append)
    assert seen[-1].num_kept == (count - 1) // 5 * 5, "five videos and faults in each shard"
    assert contents(tmp_path / "index") == straight


@pytest.mark.parametrize("beside", [False, True])
def test_index__parts_make_the_set_of_a_single_run(beside: bool, shards: Path, tmp_path: Path) -> None:
    folder = None if beside else tmp_path / "index"
    index(shards, folder)
    straight = contents(folder or shards)
    for name in ("dataset.json", "index.arrow", "faults.json"):
        ((folder or shards) / name).unlink()
    for number in (3, 1, 2):
        summary = index(shards, folder, part=Part(number, 3), processes=number)
        assert (summary.part, summary.num_videos) == (f"{number}/3", 3)
    with pytest.raises(ConfigError, match="no packed data set"):
        PackedDataset.open(folder or shards)
    seen: list[IndexProgress] = []
    assert index(shards, folder, seen.append).part is None
    assert seen[-1].num_kept == seen[-1].num_videos == 18, "nothing is read again"
    assert contents(folder or shards) == straight


@pytest.mark.usefixtures("quick")
def test_index__without_a_part_what_is_missing_is_read(
    shards: Path, straight: dict[str, bytes], tmp_path: Path
) -> None:
    index(shards, tmp_path / "index", part=Part(2, 3))
    index(shards, tmp_path / "index")
    assert contents(tmp_path / "index") == straight
    with pytest.raises(ConfigError, match="none removes the others"):
        index(shards, tmp_path / "index", part=Part(1, 3), overwrite=True)
    with pytest.raises(ConfigError, match="there already"):
        index(shards, tmp_path / "index", part=Part(1, 3))


def test_index_command__parts(
    shards: Path, straight: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["index", str(shards), str(tmp_path / "index")]
    for number in (1, 2):
        videomae.main([*command, "--part", f"{number}/2"], standalone_mode=False)
    printed = capsys.readouterr().out
    assert "Indexed part 2/2 into" in printed
    assert "without --part" in printed
    (shards / NAMES[0]).touch()
    rewrite(shards / NAMES[1])
    videomae.main(command, standalone_mode=False)
    assert "note: 1 shard(s) changed since they were read" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="part: "):
        videomae.main([*command, "--part", "3/2"], standalone_mode=False)


@pytest.mark.usefixtures("quick")
def test_index__takes_a_shard_again_whose_receipt_is_cut(
    shards: Path, straight: dict[str, bytes], tmp_path: Path
) -> None:
    index(shards, tmp_path / "index", part=Part(1, 1))
    receipt = tmp_path / "index/.unfinished/shard-000001.json"
    receipt.write_bytes(receipt.read_bytes()[:50])
    (tmp_path / "index" / "index.arrow.0123456789ab.partial").touch()
    index(shards, tmp_path / "index")
    assert contents(tmp_path / "index") == straight
