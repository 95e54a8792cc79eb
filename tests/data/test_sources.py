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
        "classInd.txt: no such file": (folder / "videos", folder / "empty"),
        "no trainlist0N.txt": (folder / "videos", folder / "nolists"),
        "split lists together with a CSV": (folder / "bare.csv", folder / "nolists"),
    }


def test_open_source__explains_what_is_wrong(tmp_path: Path) -> None:
    for message, (path, splits) in wrong_sources(tmp_path).items():
        with pytest.raises(ConfigError) as caught:
            open_source(path, splits=splits)
        assert message in str(caught.value)
