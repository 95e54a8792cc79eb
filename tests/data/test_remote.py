from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from fault_server import FaultServer, serve

from videomae_train.data import remote
from videomae_train.data.locations import Location
from videomae_train.data.remote import RemoteFiles, RemoteOptions
from videomae_train.errors import ConfigError, ShardError

CONTENT = bytes(range(256)) * 40
QUICK = RemoteOptions(retries=2, first_delay_sec=0.01, timeout_sec=0.5)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultServer]:
    (tmp_path / "file").write_bytes(CONTENT)
    with serve(tmp_path) as server:
        yield server


@pytest.fixture
def file(server: FaultServer) -> Location:
    return Location.of(server.url) / "file"


def test_read__gives_exactly_the_range(file: Location, server: FaultServer) -> None:
    files = RemoteFiles(QUICK)
    assert files.read(file, 100, 300) == CONTENT[100:400]
    assert server.num_bytes == 300, "not one byte more is transferred"
    assert files.read(file, 10239, 1) == CONTENT[-1:]
    assert files.size(file) == len(CONTENT)
    assert files.read_whole(file) == CONTENT


def test_read__joins_blocks(file: Location, server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "BLOCK_BYTES", 1000)
    assert RemoteFiles(QUICK).read(file, 7, 4321) == CONTENT[7:4328]
    assert server.num_requests["file"] == 5


@pytest.mark.parametrize("fault", ["500", "half", "cut_connection", "slow"])
def test_read__repeats_what_may_pass(file: Location, server: FaultServer, fault: str) -> None:
    server.faults = [fault, fault]
    assert RemoteFiles(QUICK).read(file, 100, 300) == CONTENT[100:400]
    assert server.num_requests["file"] == 3


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("500", "Internal Server Error"),
        ("half", "150 of 300 bytes"),
        ("cut_connection", "Payload"),
        ("slow", "no answer in time"),
    ],
)
def test_read__gives_up_with_what_the_server_said(
    file: Location, server: FaultServer, fault: str, said: str
) -> None:
    server.always = lambda _: fault
    files = RemoteFiles(RemoteOptions(retries=1, first_delay_sec=0.01, timeout_sec=0.3))
    with pytest.raises(ShardError, match=rf"{file}: .*{said}.*\(2 attempts\)"):
        files.read(file, 100, 300)
    assert server.num_requests["file"] == 2


def test_read__does_not_repeat_in_vain(file: Location, server: FaultServer) -> None:
    files = RemoteFiles(QUICK)
    with pytest.raises(ShardError, match=r"FileNotFoundError.*\(1 attempt\)"):
        files.read(Location.of(server.url) / "nothing", 0, 1)
    server.faults = ["whole_file"]
    with pytest.raises(ShardError, match="10240 bytes where 300 were asked for: it ignores byte ranges"):
        files.read(file, 100, 300)


def test_read__nobody_listens() -> None:
    with pytest.raises(ShardError, match=r"ClientConnector.*\(3 attempts\)"):
        RemoteFiles(QUICK).read(Location.of("http://127.0.0.1:9/x"), 0, 1)


def test_read__unknown_kind_of_address() -> None:
    with pytest.raises(ConfigError, match=r"'\.\[remote\]'"):
        RemoteFiles(QUICK).read(Location.of("nosuch://host/x"), 0, 1)


def test_read__pauses_grow(file: Location, server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    server.faults = ["500"] * 4
    assert RemoteFiles(RemoteOptions(retries=4, first_delay_sec=0.5)).read(file, 0, 10) == CONTENT[:10]
    assert pauses == [0.5, 1, 2, 4]


def send(connection: Connection, files: RemoteFiles, file: Location) -> None:
    connection.send(files.read(file, 5, 20))


def test_read__works_in_a_forked_child(file: Location) -> None:
    files = RemoteFiles(QUICK)
    assert files.read(file, 0, 10) == CONTENT[:10]  # connections and a thread exist before the fork
    context = get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=send, args=(theirs, files, file), daemon=True)  # inherited, not pickled
    child.start()
    assert ours.poll(20), "the child hangs or has failed"
    assert ours.recv() == CONTENT[5:25]
    child.join()
    assert pickle.loads(pickle.dumps(files)).read(file, 0, 10) == CONTENT[:10]


def test_options__refuse_nonsense() -> None:
    with pytest.raises(ConfigError, match=r"loader\.storage\.remote\.retries: -1; expected at least 0"):
        RemoteOptions(retries=-1)


def test_location__urls_stay_whole(tmp_path: Path) -> None:
    assert str(Location.of("s3://bucket/set/")) == "s3://bucket/set"
    assert Location.of(f"file://{tmp_path}").path == tmp_path
    assert str(Location.of("s3://a/b") / "https://c/d.tar") == "https://c/d.tar"
    assert (Location.of(tmp_path) / "/elsewhere/x.tar").path == Path("/elsewhere/x.tar")
    with pytest.raises(ConfigError, match="two of them"):
        Location.of(Path("s3://bucket/set"))
