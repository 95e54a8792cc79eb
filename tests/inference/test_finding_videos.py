from pathlib import Path

import pytest

from videomae_train.errors import ConfigError
from videomae_train.inference import find_videos


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b/run.1.mp4", "b/run.2.mp4", "a/run.1.mp4", "a/run.1.avi", "a/.hidden.mp4", "a/notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def names(paths: tuple[Path, ...], folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in paths]


def test_folder__dots_and_equal_stems_stay_apart_and_others_are_noted(folder: Path) -> None:
    found = find_videos(folder)
    assert names(found.paths, folder) == ["a/run.1.avi", "a/run.1.mp4", "b/run.1.mp4", "b/run.2.mp4"]
    assert found.notes == (f"{folder}: 1 files without a video extension were left out",)


def test_names__keep_their_order_and_appear_once(folder: Path) -> None:
    found = find_videos([folder / "b/run.2.mp4", folder / "a", str(folder / "b" / "." / "run.2.mp4")])
    assert names(found.paths, folder) == ["b/run.2.mp4", "a/run.1.avi", "a/run.1.mp4"]
    assert found.notes[-1] == "1 repeated paths were left out"


def test_lists__are_relative_to_their_folder(folder: Path) -> None:
    (folder / "list.txt").write_text("b/run.2.mp4\n\na/with space.mp4\n")
    (folder / "list.csv").write_text(
        '\ufefflabel,path\nx,"a/one, two.mp4"\ny,a/run.1.mp4\n', encoding="utf-8"
    )
    (folder / "list.tsv").write_text("path\tlabel\na/run.1.avi\tx\n")
    found = find_videos([folder / "list.txt", folder / "list.csv", folder / "list.tsv"])
    expected = ["b/run.2.mp4", "a/with space.mp4", "a/one, two.mp4", "a/run.1.mp4", "a/run.1.avi"]
    assert names(found.paths, folder) == expected


def test_standard_input__holds_paths_as_they_are() -> None:
    found = find_videos("-", ["one.mp4\n", "\n", "/two three.txt\n"])
    assert found.paths == (Path("one.mp4"), Path("/two three.txt"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.txt", None, "no such file or directory"),
        ("empty.txt", b"\n", "no path"),
        ("list.csv", b"file\nx.mp4\n", "the columns file"),
        ("binary.txt", b"\xff\xfe\x00\xd8", "codec"),
    ],
)
def test_lists__that_name_nothing_are_errors(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        find_videos(tmp_path / name)


def test_nothing__is_an_error(tmp_path: Path) -> None:
    for named in (tmp_path, "-", []):
        with pytest.raises(ConfigError):
            find_videos(named)


def test_keys__are_paths_inside_what_was_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "list.txt").write_text("b/run.2.mp4\n./a/../b/run.1.mp4\n../elsewhere.mp4\n")
    outside = (folder.parent / "elsewhere.mp4").as_posix().removeprefix("/")
    assert find_videos(folder / "list.txt").keys == ("b/run.2.mp4", "b/run.1.mp4", outside)
    assert find_videos(folder).keys == ("a/run.1.avi", "a/run.1.mp4", "b/run.1.mp4", "b/run.2.mp4")
    assert find_videos([folder / "a", folder / "b/run.2.mp4"]).keys == ("run.1.avi", "run.1.mp4", "run.2.mp4")
    monkeypatch.chdir(folder)
    assert find_videos("-", ["a/run.1.mp4\n"]).keys == ("a/run.1.mp4",)
