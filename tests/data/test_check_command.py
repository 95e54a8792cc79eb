from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from fault_server import serve
from inspected_sets import set_of, video
from small_clips import encode, moving_frames, write_tree

from videomae_train.cli import main, videomae
from videomae_train.commands.check_report import describe, write_check_page
from videomae_train.data.health import ClipShape, diagnose, measure_set
from videomae_train.errors import ConfigError, VideoMAETrainError

FITTING = ["--num-frames", 4, "--stride", 2, "--image-size", 32]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def check(*arguments: object) -> None:
    videomae.main(["check", *map(str, arguments)], standalone_mode=False)


def names(file: str) -> dict[str, str]:
    return {one["name"]: one["severity"] for one in json.loads(Path(file).read_text())["findings"]}


def listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_check__a_packed_set_is_looked_at_and_left_alone(
    packed_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = listing(packed_folder)
    check(packed_folder, *FITTING)
    assert listing(packed_folder) == before
    folder = f"check-{packed_folder.name}"
    report = json.loads(Path(folder, "check.json").read_text())
    assert report["can_be_trained_on"] is True
    assert report["statistics"]["num_videos"] == len(report["videos"]) == 22
    assert {one["codec"] for one in report["videos"]} == {"h264"}
    assert {one["class"] for one in report["videos"]} == {"jump", "run", "walk"}
    page = Path(folder, "report.html").read_text()
    assert page.count("data:image/png") == 2
    assert "can be trained on" in page
    printed = capsys.readouterr().out
    for expected in (
        "22, 0 of them with a fault",
        "h264 (22)",
        "3, from 5 to 10 videos",
        "can be trained on",
    ):
        assert expected in printed


def test_check__quick_says_less_and_decodes_nothing(packed_folder: Path) -> None:
    check(packed_folder, *FITTING, "--quick", "--json", "c.json", "--page", "p.html")
    report = json.loads(Path("c.json").read_text())
    assert report["is_decoded"] is False
    assert "codec" not in report["videos"][0]
    assert report["videos"][0]["num_frames"] > 0
    assert "not decoded" in Path("p.html").read_text()


def test_check__a_folder_before_packing_with_lists(clip: bytes, tmp_path: Path) -> None:
    other = encode(moving_frames(20, seed=9))
    files = {"v/a.mp4": clip, "v/b.mp4": other, "v/c.mp4": clip[:500], "v/d.mp4": clip}
    lists = {
        "lists/train.csv": b"path,label\na.mp4,run\nb.mp4,walk\n",
        "lists/test.csv": b"path,label\nd.mp4,run\n",
    }
    write_tree(tmp_path, files | lists)
    with pytest.raises(VideoMAETrainError, match="byte for byte in split/train too") as caught:
        check("v", "--splits", "lists", *FITTING, "--processes", 2)
    assert caught.value.exit_code == 1
    found = names("check-v/check.json")
    assert (found["overlap"], found["duplicates"]) == ("error", "warning")


def test_check__the_clip_decides_what_is_short(packed_folder: Path) -> None:
    check(packed_folder, *FITTING, "--quick", "--json", "c.json", "--page", "p.html")
    assert "short-videos" not in names("c.json")
    check(packed_folder, "--stride", 8, "--quick", "--json", "c.json", "--page", "p.html")
    assert names("c.json")["short-videos"] == "warning"


@pytest.fixture
def copy_of_set(packed_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed_folder, tmp_path / "set"))


def test_check__a_missing_shard_is_the_reason(copy_of_set: Path) -> None:
    (copy_of_set / "shard-000001.tar").unlink()
    with pytest.raises(VideoMAETrainError, match=r"shard-000001\.tar"):
        check(copy_of_set)
    report = json.loads(Path("check-set/check.json").read_text())
    assert report["can_be_trained_on"] is False
    assert [one["name"] for one in report["findings"]] == ["damaged-set"]
    assert "shard-000001.tar" in Path("check-set/report.html").read_text()


def test_check__says_what_packing_left_out(
    clip: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tree(tmp_path, {"videos/run/a.mp4": clip, "videos/run/b.mp4": b"", "videos/run/c.mp4": b""})
    videomae.main(["pack", "videos", "set"], standalone_mode=False)
    check("set", *FITTING, "--quick")
    assert "2 videos were left out when the set was packed (2 empty)" in capsys.readouterr().out


def test_check__a_damaged_shard_is_the_reason(copy_of_set: Path) -> None:
    shard = copy_of_set / "shard-000000.tar"
    content = bytearray(shard.read_bytes())
    content[2000] ^= 1
    shard.write_bytes(content)
    with pytest.raises(VideoMAETrainError, match="not as packed"):
        check(copy_of_set, "--quick", *FITTING)


@pytest.mark.parametrize(
    ("folder", "code", "words"), [("good", 0, ""), ("bad", 1, "1 empty"), ("nowhere", 2, "no such folder")]
)
def test_check__exit_codes_of_the_command(
    folder: str,
    code: int,
    words: str,
    clip: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """0 fine, 1 with the reason, 2 for a wrong request."""
    write_tree(tmp_path, {"good/a.mp4": clip, "bad/a.mp4": b""})
    monkeypatch.setattr(sys, "argv", ["videomae", "check", folder])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    assert words in capsys.readouterr().err


def test_check__an_unfinished_set_is_a_wrong_request(copy_of_set: Path) -> None:
    (copy_of_set / "dataset.json").unlink()
    with pytest.raises(ConfigError, match="unfinished set"):
        check(copy_of_set)


def test_page__names_are_cut_where_there_are_thousands(tmp_path: Path) -> None:
    videos = [video(f"v{n}", cause="empty") for n in range(1000)] + [video("good")]
    inspected = set_of(*videos)
    clip = ClipShape()
    write_check_page(tmp_path / "p.html", inspected, diagnose(inspected, clip), clip)
    page = (tmp_path / "p.html").read_text()
    assert "... and 800 more" in page
    assert page.count("v999") == 0


def test_describe__leaves_out_what_is_not_known() -> None:
    rows = describe(measure_set(set_of(video("a"), video("b", fps=30.0, num_frames=100))))
    assert rows["frames"] == "100 to 200, half of them up to 150"
    assert rows["frames per second"] == "25 (1), 30 (1)"
    assert rows["codec"] == "h264 (2)"
    empty = describe(measure_set(set_of()))
    assert set(empty) == {"videos", "in all", "classes"}


def test_check__a_set_behind_an_address(packed_folder: Path) -> None:
    check(packed_folder, *FITTING)
    here = json.loads(Path(f"check-{packed_folder.name}", "check.json").read_text())
    with serve(packed_folder.parent) as server:
        check(f"{server.url}/{packed_folder.name}", *FITTING, "--json", "there.json", "--page", "there.html")
    there = json.loads(Path("there.json").read_text())
    assert there["videos"] == here["videos"]
    assert there["findings"] == here["findings"]
