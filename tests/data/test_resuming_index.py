from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fault_server import serve
from foreign_shards import tar_bytes, write_tar
from interruptions import Killed, contents, files_moved, run_script
from small_clips import encode, moving_frames, write_tree

from videomae_train.cli import videomae
from videomae_train.data import indexing
from videomae_train.data.index import PackedDataset
from videomae_train.data.indexing import IndexOptions, IndexProgress, index_shards
from videomae_train.data.pack_summary import PackSummary
from videomae_train.data.packing import PackOptions, pack
from videomae_train.data.parts import Part
from videomae_train.data.remote import RemoteOptions
from videomae_train.data.shard_lists import SplitRule
from videomae_train.data.sources import open_source
from videomae_train.data.tar_probing import TarTask
from videomae_train.errors import ConfigError, ShardError

CLIPS = [
    encode(moving_frames(8 + number, 32, 40, seed=number), options={"preset": "ultrafast"})
    for number in range(9)
]
NAMES = ("train/000.tar", "train/001.tar", "train/002.tar", "val/000.tar")


def index(
    source: object,
    destination: Path | None,
    on_progress: Callable[[IndexProgress], None] = lambda _: None,
    **options: object,
) -> PackSummary:
    return index_shards(str(source), destination, IndexOptions(**options), on_progress)  # type: ignore[arg-type]


def members_of(number: int) -> list[tuple[str, bytes]]:
    """Two good videos, and between them what makes faults in the reader and in the children."""
    first, second = f"{number}a", f"{number}b"
    return [
        (f"{first}.mp4", CLIPS[2 * number]),
        (f"{first}.cls", b"run"),
        (f"{first}.json", json.dumps({"action": f"act{number}"}).encode()),
        (f"{number}broken.mp4", CLIPS[8][:300]),
        (f"{number}lonely.json", b"{}"),
        (f"{number}nolabel.mp4", CLIPS[8]),
        (f"{second}.mp4", CLIPS[2 * number + 1]),
        (f"{second}.cls", b"walk"),
    ]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Three shards and one that is cut; each has faults of its own."""
    for number, name in enumerate(NAMES[:3]):
        write_tar(tmp_path / "shards" / name, members_of(number))
    whole = tar_bytes(members_of(3))
    return write_tree(tmp_path / "shards", {NAMES[3]: whole[: whole.index(b"3b.mp4") + 1000]})


@pytest.fixture
def straight(shards: Path, tmp_path: Path) -> dict[str, bytes]:
    index(shards, tmp_path / "straight")
    return contents(tmp_path / "straight")


def test_index__straight_has_what_the_other_tests_want_to_see(straight: dict[str, bytes]) -> None:
    assert sorted(straight) == ["dataset.json", "faults.json", "index.arrow"]
    causes = [fault["cause"] for fault in json.loads(straight["faults.json"])["faults"]]
    assert [causes.count(c) for c in ("undecodable", "missing", "cut shard", "no label")] == [4, 4, 1, 3]


SCRIPT = """
import os, signal, sys
from pathlib import Path
from videomae_train.data.indexing import IndexOptions, index_shards

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
        ("folder", ("6 videos", "2 shards", "12 videos", "dataset.json"), 18),
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


@contextmanager
def no_children(
    work: Callable[[TarTask], object], items: Iterable[TarTask], **_: object
) -> Iterator[Iterator[tuple[TarTask, object]]]:
    """Decode here, one video after the other: for tests that count files rather than processes."""
    yield ((item, work(item)) for item in items)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "children_at_work", no_children)


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


def rewrite(shard: Path) -> None:
    write_tar(shard, [("1a.mp4", CLIPS[8]), ("1a.cls", b"jump")])


def alter_in_place(shard: Path) -> None:
    """Another label, but the length and the time of writing stay."""
    before, content = shard.stat(), shard.read_bytes()
    shard.write_bytes(content.replace(b"walk", b"jump"))
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert shard.stat().st_size == before.st_size


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("change", [rewrite, alter_in_place])
def test_index__a_shard_that_has_changed_is_read_again_and_named(
    change: Callable[[Path], None], shards: Path, straight: dict[str, bytes], tmp_path: Path
) -> None:
    index(shards, tmp_path / "index", part=Part(1, 2))
    index(shards, tmp_path / "index", part=Part(2, 2))
    change(shards / NAMES[1])
    seen: list[IndexProgress] = []
    summary = index(shards, tmp_path / "index", seen.append)
    assert summary.notes == ("1 shard(s) changed since they were read, and were read again: train/001.tar",)
    assert seen[-1].num_kept == 13, "of the other three"
    index(shards, tmp_path / "fresh")
    assert contents(tmp_path / "index") == contents(tmp_path / "fresh") != straight


@pytest.mark.usefixtures("quick")
def test_index__a_shard_that_changes_while_it_is_read_is_read_again(shards: Path, tmp_path: Path) -> None:
    def on_progress(progress: IndexProgress) -> None:
        if progress.num_videos == 7:
            alter_in_place(shards / NAMES[1])
        if progress.num_shards_read == 3:
            raise Killed

    with pytest.raises(Killed):
        index(shards, tmp_path / "index", on_progress)
    assert "train/001.tar" in index(shards, tmp_path / "index").notes[0]
    index(shards, tmp_path / "fresh")
    assert contents(tmp_path / "index") == contents(tmp_path / "fresh")


@pytest.mark.usefixtures("quick")
def test_index__a_shard_with_the_same_bytes_is_not_decoded_again(
    shards: Path, straight: dict[str, bytes], tmp_path: Path
) -> None:
    index(shards, tmp_path / "index", part=Part(1, 1))
    shutil.copyfile(shards / NAMES[0], tmp_path / "copy.tar")
    (tmp_path / "copy.tar").replace(shards / NAMES[0])
    seen: list[IndexProgress] = []
    assert index(shards, tmp_path / "index", seen.append).notes == ()
    assert seen[-1].num_kept == 18
    assert contents(tmp_path / "index") == straight


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("states_version", [True, False])
def test_index__of_a_server_asks_for_versions_else_compares_checksums(
    states_version: bool, shards: Path, tmp_path: Path
) -> None:
    with serve(shards) as server:
        server.states_version = states_version
        pattern = f"{server.url}/train/{{000..002}}.tar"
        remote = RemoteOptions(1, 0.01, 5)
        index(pattern, tmp_path / "straight", remote=remote)
        server.num_requests.clear()
        index(pattern, tmp_path / "index", remote=remote, part=Part(1, 2))
        assert sorted(server.num_requests) == [NAMES[0], NAMES[2]]
        server.num_requests.clear()
        server.always = lambda name: "500" if name == NAMES[1] else None
        with pytest.raises(ShardError, match="Internal Server Error"):
            index(pattern, tmp_path / "index", remote=remote)
        server.always = lambda _: None
        server.num_requests.clear()
        seen: list[IndexProgress] = []
        index(pattern, tmp_path / "index", seen.append, remote=remote)
        assert seen[-1].num_kept == 10
        assert sorted(server.num_requests) == ([NAMES[1]] if states_version else list(NAMES[:3]))
        assert contents(tmp_path / "index") == contents(tmp_path / "straight")
        index(pattern, tmp_path / "changed", remote=remote, part=Part(1, 1))
        alter_in_place(shards / NAMES[1])
        assert "again: 001.tar" in index(pattern, tmp_path / "changed", remote=remote).notes[0]


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
def test_index__takes_a_shard_again_whose_receipt_is_cut(
    shards: Path, straight: dict[str, bytes], tmp_path: Path
) -> None:
    index(shards, tmp_path / "index", part=Part(1, 1))
    receipt = tmp_path / "index/.unfinished/shard-000001.json"
    receipt.write_bytes(receipt.read_bytes()[:50])
    (tmp_path / "index" / "index.arrow.0123456789ab.partial").touch()
    index(shards, tmp_path / "index")
    assert contents(tmp_path / "index") == straight


@pytest.mark.usefixtures("quick")
def test_index_and_pack__do_not_work_in_one_folder(shards: Path, class_folders: Path, tmp_path: Path) -> None:
    index(shards, tmp_path / "index", part=Part(1, 2))
    with pytest.raises(ConfigError, match="unfinished indexing of something else: now packing"):
        pack(open_source(class_folders), tmp_path / "index", PackOptions(), lambda _: None)
    pack(open_source(class_folders), tmp_path / "packed", PackOptions(part=Part(1, 1)), lambda _: None)
    with pytest.raises(ConfigError, match="unfinished packing of something else: now indexing"):
        index(tmp_path / "packed", None)


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
