from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_clips import write_tree

from videomae_train.data.sources import SourceSet, open_source
from videomae_train.errors import ConfigError


def parts(source: SourceSet) -> dict[str, tuple[int, dict[str, str]]]:
    return {video.name: (video.label, dict(video.splits)) for video in source.videos}


def missing(source: SourceSet) -> list[str]:
    return [video.name for video in source.videos if not video.path.exists()]


def write_texts(folder: Path, texts: dict[str, str]) -> Path:
    return write_tree(folder, {name: text.encode() for name, text in texts.items()})


def make_hmdb51(folder: Path) -> tuple[Path, Path]:
    """Files as the two archives unpack: one class twice nested, spaces at the lines' ends."""
    videos = ["wave/wave/a_(1)#2.avi", "wave/wave/b.avi", "run/c.d.avi", "run/e.mp4"]
    texts = {
        "run_test_split1.txt": "c.d.avi 1 \ne.avi 2 \ngone.avi 2 \n",
        "run_test_split2.txt": "c.d.avi 2 \ne.avi 0 \ngone.avi 0 \n",
        "wave_test_split1.txt": "a_(1)#2.avi 0 \nb.avi 1 \n",
        "wave_test_split2.txt": "a_(1)#2.avi 1 \nb.avi 2 \n",
        "class_list.txt": "run\nwave\n",
    }
    return write_tree(folder / "videos", dict.fromkeys(videos, b"")), write_texts(folder / "splits", texts)


def test_hmdb51__splits_are_columns_and_zero_is_unused(tmp_path: Path) -> None:
    videos, splits = make_hmdb51(tmp_path)
    source = open_source(videos, splits=splits)
    assert (source.layout, source.classes) == ("hmdb51", ("run", "wave"))
    assert parts(source) == {
        "run/c.d.avi": (0, {"split1": "train", "split2": "test"}),
        "run/e.mp4": (0, {"split1": "test"}),
        "run/gone.avi": (0, {"split1": "test"}),
        "wave/wave/a_(1)#2.avi": (1, {"split2": "train"}),
        "wave/wave/b.avi": (1, {"split1": "train", "split2": "test"}),
    }
    assert missing(source) == ["run/gone.avi"]


def test_hmdb51__refuses_what_contradicts_the_lists(tmp_path: Path) -> None:
    videos, splits = make_hmdb51(tmp_path)
    write_tree(videos, {"jump/a.avi": b""})
    with pytest.raises(ConfigError, match="in the folder jump"):
        open_source(videos, splits=splits)
    write_texts(splits, {"jump_test_split1.txt": "a.avi 3\n"})
    with pytest.raises(ConfigError, match=r"the line 'a.avi 3'; expected a file name and 0, 1 or 2"):
        open_source(videos, splits=splits)


HMDB51 = Path(__file__).parents[2] / "../shared/data/splits/hmdb51"


@pytest.mark.skipif(not HMDB51.is_dir(), reason="the official lists are not here")
def test_hmdb51__official_lists(tmp_path: Path) -> None:
    videos = write_tree(tmp_path, {"wave/wave/20060723sfjffbartsinger_wave_f_cm_np1_ba_med_0.avi": b""})
    source = open_source(videos, splits=HMDB51)
    assert (len(source.videos), len(source.classes)) == (6766, 51)
    for split in ("split1", "split2", "split3"):
        names = [video.splits.get(split) for video in source.videos]
        assert (names.count("train"), names.count("test"), names.count(None)) == (3570, 1530, 1666)


KINETICS = "label,youtube_id,time_start,time_end,split\n"


def test_kinetics__finds_clips_by_id_and_times_anywhere(tmp_path: Path) -> None:
    files = ["train/high jump/-aB_3d5fghi_000001_000011.mp4", "val/abc_000010_000020.mkv", "val/unlisted.mp4"]
    videos = write_tree(tmp_path / "videos", dict.fromkeys(files, b""))
    texts = {
        "train.csv": KINETICS + "high jump,-aB_3d5fghi,1,11,train\nabseiling,gone,5,15,train\n",
        "validate.csv": KINETICS + "abseiling,abc,10,20,validate\n",
        "test.csv": "youtube_id,time_start,time_end\nnolabel,0,10\n",
    }
    source = open_source(videos, splits=write_texts(tmp_path / "lists", texts))
    assert (source.layout, source.classes) == ("kinetics", ("abseiling", "high jump"))
    assert parts(source) == {
        "train/high jump/-aB_3d5fghi_000001_000011.mp4": (1, {"split": "train"}),
        "gone_000005_000015.mp4": (0, {"split": "train"}),
        "val/abc_000010_000020.mkv": (0, {"split": "val"}),
        "nolabel_000000_000010.mp4": (-1, {"split": "test"}),
    }
    assert missing(source) == ["gone_000005_000015.mp4", "nolabel_000000_000010.mp4"]
    assert source.notes == ("1 videos are in no split list",)


def test_kinetics__zeros_before_a_number_mean_nothing(tmp_path: Path) -> None:
    videos = write_tree(tmp_path / "videos", {"x_000001_000002.mp4": b"", "y_000001_000002.mp4": b""})
    header = "label,youtube_id,time_start,time_end\n"
    splits = write_texts(tmp_path / "splits", {"train.csv": header + "01,x,1,2\n00,y,1,2\n"})
    source = open_source(videos, splits=splits)
    assert source.classes == ("0", "1")
    assert [video.label for video in source.videos] == [1, 0]


def test_kinetics__refuses_one_file_for_two_clips(tmp_path: Path) -> None:
    videos = write_tree(tmp_path / "videos", {"abc.mp4": b""})
    lists = {"train.csv": KINETICS + "a,abc,1,11,train\na,abc,20,30,train\n"}
    with pytest.raises(ConfigError, match="one file for two clips"):
        open_source(videos, splits=write_texts(tmp_path / "lists", lists))
    lists = {"train.csv": KINETICS + "a,abc,1,later,train\n"}
    with pytest.raises(ConfigError, match="the times '1' to 'later' of abc"):
        open_source(videos, splits=write_texts(tmp_path / "lists", lists))


def make_something(folder: Path) -> tuple[Path, Path]:
    videos = write_tree(folder / "videos", dict.fromkeys(["1.webm", "2.webm", "3.webm"], b""))
    train = [{"id": "2", "template": "Holding [something]"}, {"id": "7", "template": "Holding [something]"}]
    lists = {
        "labels": {"Pushing something from left to right": "0", "Holding something": "1"},
        "train": train,
        "validation": [{"id": 1, "template": "Pushing [something] from left to right"}],
        "test": [{"id": "3"}],
    }
    texts = {f"something-something-v2-{name}.json": json.dumps(content) for name, content in lists.items()}
    return videos, write_texts(folder / "lists", texts)


def test_something_v2__templates_are_classes(tmp_path: Path) -> None:
    videos, lists = make_something(tmp_path)
    source = open_source(videos, splits=lists)
    assert source.layout == "something-v2"
    assert source.classes == ("Pushing something from left to right", "Holding something")
    assert parts(source) == {
        "1.webm": (0, {"split": "val"}),
        "2.webm": (1, {"split": "train"}),
        "3.webm": (-1, {"split": "test"}),
        "7.webm": (1, {"split": "train"}),
    }
    assert missing(source) == ["7.webm"]


def test_something_v2__refuses_what_contradicts_the_labels(tmp_path: Path) -> None:
    videos, lists = make_something(tmp_path)
    write_texts(lists, {"test.json": json.dumps([{"id": "3", "template": "Eating [something]"}])})
    (lists / "something-something-v2-test.json").unlink()
    with pytest.raises(ConfigError, match=r"test.json, id 3: the template 'Eating something'"):
        open_source(videos, splits=lists)
    (lists / "something-something-v2-labels.json").unlink()
    with pytest.raises(ConfigError, match="expected a labels file"):
        open_source(videos, splits=lists)
