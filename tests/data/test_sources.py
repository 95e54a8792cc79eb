from __future__ import annotations

from pathlib import Path

import pytest
from small_clips import write_tree

from videomae_train.data.sources import open_source
from videomae_train.errors import ConfigError


def names(source) -> dict[str, int]:
    return {video.name: video.label for video in source.videos}


def test_class_folders__number_classes_by_name(tmp_path: Path) -> None:
    files = ["walk/b.mp4", "run/deep/a.MP4", "run/.hidden.mp4", "notes.txt", "loose.avi"]
    source = open_source(write_tree(tmp_path, dict.fromkeys(files, b"")))
    assert source.classes == ("run", "walk")
    assert names(source) == {"loose.avi": -1, "run/deep/a.MP4": 0, "walk/b.mp4": 1}
    assert "1 files without a video extension" in source.notes[0]
    assert "1 videos lie outside a class folder" in source.notes[1]


def test_csv__names_and_splits(tmp_path: Path) -> None:
    listing = tmp_path / "list.csv"
    listing.write_text("path,label,fold\na/1.mp4,walk,train\na/2.mp4,run,\n\nb.mp4,,test\n")
    source = open_source(listing)
    assert source.classes == ("run", "walk")
    assert names(source) == {"a/1.mp4": 1, "a/2.mp4": 0, "b.mp4": -1}
    assert [dict(video.splits) for video in source.videos] == [{"fold": "train"}, {}, {"fold": "test"}]
    assert source.videos[0].path == tmp_path / "a/1.mp4"


def test_csv__numbers_keep_their_value(tmp_path: Path) -> None:
    listing = tmp_path / "list.csv"
    listing.write_text("path,label\na.mp4,10\nb.mp4,2\n")
    source = open_source(listing)
    assert names(source) == {"a.mp4": 10, "b.mp4": 2}
    assert source.classes == tuple(str(number) for number in range(11))


def test_csv__zeros_before_a_number_mean_nothing(tmp_path: Path) -> None:
    listing = tmp_path / "list.csv"
    listing.write_text("path,label\na.mp4,00\nb.mp4,02\nc.mp4,2\nd.mp4,\n")
    source = open_source(listing)
    assert names(source) == {"a.mp4": 0, "b.mp4": 2, "c.mp4": 2, "d.mp4": -1}
    assert source.classes == ("0", "1", "2")


def test_csv__numbers_that_are_no_class_numbers(tmp_path: Path) -> None:
    listing = tmp_path / "list.csv"
    listing.write_text("path,label\na.mp4,1\nb.mp4,20261129123456\n")
    with pytest.raises(
        ConfigError, match=r"list.csv: 2 different labels, .* would make 20261129123457 classes"
    ):
        open_source(listing)
    listing.write_text("path,label\na.mp4,1\nb.mp4,999\n")
    assert len(open_source(listing).classes) == 1000, "gaps are no mistake of themselves"
    listing.write_text("path,label\n" + "".join(f"{number}.mp4,{10 * number + 9}\n" for number in range(200)))
    assert len(open_source(listing).classes) == 2000


def make_ucf101(folder: Path, extension: str = "avi") -> tuple[Path, Path]:
    """Two classes; videos g01 test, g02 train in split 1 and the other way round in split 2."""
    stems = [f"{name}/v_{name}_{group}_c01" for name in ("Archery", "Diving") for group in ("g01", "g02")]
    videos = write_tree(folder / "videos", {f"{stem}.{extension}": b"" for stem in stems})
    lists = {"classInd.txt": "2 Archery\r\n1 Diving\r\n"}
    for split, test_group in (("01", "g01"), ("02", "g02")):
        lists[f"testlist{split}.txt"] = "".join(f"{stem}.avi\n" for stem in stems if test_group in stem)
        lists[f"trainlist{split}.txt"] = "".join(
            f"{stem}.avi 1\n" for stem in stems if test_group not in stem
        )
    return videos, write_tree(folder / "splits", {name: text.encode() for name, text in lists.items()})


def test_ucf101__splits_are_columns(tmp_path: Path) -> None:
    videos, splits = make_ucf101(tmp_path)
    source = open_source(videos, splits=splits)
    assert source.classes == ("Diving", "Archery"), "as classInd.txt numbers them"
    parts = {video.name: (video.label, dict(video.splits)) for video in source.videos}
    assert parts["Archery/v_Archery_g01_c01.avi"] == (1, {"split1": "test", "split2": "train"})
    assert parts["Diving/v_Diving_g02_c01.avi"] == (0, {"split1": "train", "split2": "test"})
    assert source.notes == ()


def test_ucf101__other_extensions_match_by_stem_and_say_so(tmp_path: Path) -> None:
    videos, splits = make_ucf101(tmp_path, "mp4")
    source = open_source(videos, splits=splits)
    assert all(video.path.is_file() and len(video.splits) == 2 for video in source.videos)
    assert source.notes == ("4 videos were matched to the split lists by stem (other extension)",)


def test_ucf101__missing_and_unlisted_videos_stay_on_the_account(tmp_path: Path) -> None:
    videos, splits = make_ucf101(tmp_path)
    (videos / "Diving/v_Diving_g01_c01.avi").rename(videos / "Diving/v_Diving_g09_c01.avi")
    source = open_source(videos, splits=splits)
    assert len(source.videos) == 5
    assert [video.name for video in source.videos if not video.path.exists()] == [
        "Diving/v_Diving_g01_c01.avi"
    ]
    assert source.notes == ("1 videos are in no split list",)


def test_ucf101__refuses_what_contradicts_the_lists(tmp_path: Path) -> None:
    videos, splits = make_ucf101(tmp_path)
    (videos / "Archery/v_Archery_g01_c01.mp4").write_bytes(b"")
    with pytest.raises(ConfigError, match="a second file of the same stem"):
        open_source(videos, splits=splits)
    (videos / "Archery/v_Archery_g01_c01.mp4").unlink()
    write_tree(videos, {"Unknown/a.avi": b""})
    with pytest.raises(ConfigError, match="no class Unknown"):
        open_source(videos, splits=splits)


def wrong_sources(folder: Path) -> dict[str, tuple[Path, Path | None]]:
    write_tree(
        folder, {"empty/.keep": b"", "text/a.txt": b"", "videos/a/a.mp4": b"", "nolists/classInd.txt": b"1 a"}
    )
    texts = {
        "headless.csv": "a.mp4,run\n",
        "bare.csv": "path,label\n",
        "twice.csv": "path,label\na.mp4,run\na.mp4,run\n",
        "short.csv": "path,label\na.mp4\n",
        "long.csv": "path,label\na.mp4,run,fast\n",
    }
    write_tree(folder, {name: text.encode() for name, text in texts.items()})
    return {
        "no such folder": (folder / "nowhere", None),
        "0 files, none of them named as a video": (folder / "empty", None),
        "1 files, none of them named as a video": (folder / "text", None),
        "the columns a.mp4, run": (folder / "headless.csv", None),
        "no line below the header": (folder / "bare.csv", None),
        "the line 'a.mp4,run' a second time": (folder / "twice.csv", None),
        "the line 'a.mp4'; expected": (folder / "short.csv", None),
        "the line 'a.mp4,run,fast'; expected": (folder / "long.csv", None),
        "no lists of a known kind": (folder / "videos", folder / "empty"),
        "no trainlist0N.txt": (folder / "videos", folder / "nolists"),
        "split lists together with a list": (folder / "bare.csv", folder / "nolists"),
    }


def test_open_source__explains_what_is_wrong(tmp_path: Path) -> None:
    for message, (path, splits) in wrong_sources(tmp_path).items():
        with pytest.raises(ConfigError) as caught:
            open_source(path, splits=splits)
        assert message in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "path,label,fold\na b.mp4,walk,train\nc.mp4,run,\n",
        "path\tlabel\tfold\na b.mp4\twalk\ttrain\nc.mp4\trun\t\n",
        'path label fold\n"a b.mp4" walk train\nc.mp4 run ""\n',
    ],
    ids=["commas", "tabs", "spaces"],
)
def test_list__separators_mean_the_same(text: str, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(text)
    source = open_source(tmp_path / "list.txt")
    assert (source.layout, names(source)) == ("list", {"a b.mp4": 1, "c.mp4": 0})
    assert [dict(video.splits) for video in source.videos] == [{"fold": "train"}, {}]


def test_list__lines_of_path_and_number_need_no_header(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("/data/a b.mp4 2\nc.mp4 0\n\n")
    source = open_source(tmp_path / "list.txt")
    assert names(source) == {"/data/a b.mp4": 2, "c.mp4": 0}
    assert source.classes == ("0", "1", "2")
    assert [video.path for video in source.videos] == [Path("/data/a b.mp4"), tmp_path / "c.mp4"]


def test_lists_of_parts__become_one_split(tmp_path: Path) -> None:
    videos = write_tree(tmp_path / "videos", dict.fromkeys(["a.mp4", "b.mp4", "c.mp4"], b""))
    texts = {"train.csv": b"a.mp4 1\nb.mp4 0\n", "val.csv": b"c.mp4 1\n", "readme.md": b"no list"}
    lists = write_tree(tmp_path / "lists", texts)
    source = open_source(videos, splits=lists)
    assert {video.name: (video.label, video.splits["split"]) for video in source.videos} == {
        "a.mp4": (1, "train"),
        "b.mp4": (0, "train"),
        "c.mp4": (1, "val"),
    }
    assert all(video.path.is_file() for video in source.videos)
    (lists / "test.txt").write_text("c.mp4 1\n")
    with pytest.raises(ConfigError, match=r"c.mp4 in two lists"):
        open_source(videos, splits=lists)


def test_unlabelled__folder_names_are_no_classes(tmp_path: Path) -> None:
    source = open_source(write_tree(tmp_path, dict.fromkeys(["00/a.mp4", "01/b.mp4"], b"")), unlabelled=True)
    assert (source.layout, source.classes) == ("unlabelled", ())
    assert names(source) == {"00/a.mp4": -1, "01/b.mp4": -1}
    (tmp_path / "list.txt").write_text("a.mp4 1\n")
    with pytest.raises(ConfigError, match="unlabelled: together with lists"):
        open_source(tmp_path / "list.txt", unlabelled=True)


def test_frames__folders_of_images_are_videos(tmp_path: Path) -> None:
    files = ["run/a/1.jpg", "run/a/2.jpg", "walk/b/1.PNG", "walk/b/notes.txt", "c/1.jpg"]
    folder = write_tree(tmp_path, dict.fromkeys(files, b""))
    source = open_source(folder, frames_fps=12.5)
    assert (source.layout, source.classes) == ("frames", ("run", "walk"))
    assert names(source) == {"c": -1, "run/a": 0, "walk/b": 1}
    assert {video.frames_fps for video in source.videos} == {12.5}
    assert set(names(open_source(folder, frames_fps=12.5, unlabelled=True)).values()) == {-1}
    with pytest.raises(ConfigError, match="--frames-fps: None"):
        open_source(folder)
    write_tree(tmp_path, {"1.jpg": b""})
    with pytest.raises(ConfigError, match="images directly in the folder"):
        open_source(folder, frames_fps=25)
