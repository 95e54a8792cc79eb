"""The report page: one file, nothing from outside, nothing interpreted."""

import base64
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from videomae_train.errors import ConfigError
from videomae_train.pictures import webp_bytes, write_gif, write_mp4, write_png
from videomae_train.reporting import (
    Cell,
    Command,
    Commands,
    Figure,
    Gallery,
    Part,
    Remark,
    Remarks,
    Report,
    Score,
    Scores,
    Section,
    Setting,
    Settings,
    Table,
    Text,
    write_report,
)
from videomae_train.reporting import page as page_module

HOSTILE = "<script>alert('x')</script> & \"quotes\" {{ 7 * 7 }}"


class Reader(HTMLParser):
    """Collects a page's tags, attributes and visible text; fails where tags close in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def report_of(*parts: Part) -> Report:
    return Report("t", (), (Section("s", parts),))


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert not reader.open
    return reader


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, Path]:
    write_png(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    write_gif(tmp_path / "b.gif", np.zeros((2, 4, 4, 3), np.uint8), fps=8)
    return tmp_path / "a.png", tmp_path / "b.gif"


def test_page__stands_alone(tmp_path: Path, pictures: tuple[Path, Path]) -> None:
    png, gif = pictures
    figures = (Figure("still", "", png.read_bytes()), Figure("moving", "", gif))
    write_report(tmp_path / "new" / "report.html", report_of(*figures))
    png.unlink()
    page = read(tmp_path / "new" / "report.html")
    sources = [value for name, value in page.attributes if name in ("src", "href")]
    assert [source.split(",")[0] for source in sources] == ["data:image/png;base64", "data:image/gif;base64"]
    assert base64.b64decode(sources[1].split(",")[1]) == gif.read_bytes()
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert not re.search(r"https?://|url\(|@import", (tmp_path / "new" / "report.html").read_text())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.html"]


def test_page__holds_webp_and_video_too(tmp_path: Path) -> None:
    frames = np.zeros((3, 16, 16, 3), np.uint8)
    write_mp4(tmp_path / "clip.mp4", frames, fps=4)
    pictures = (Figure("a", "", webp_bytes(frames[0], 8)), Figure("b", "", tmp_path / "clip.mp4"))
    write_report(tmp_path / "report.html", report_of(Gallery(pictures)))
    page = read(tmp_path / "report.html")
    sources = [value.split(",")[0] for name, value in page.attributes if name == "src"]
    assert sources == ["data:image/webp;base64", "data:video/mp4;base64"]
    assert ("controls", "") in page.attributes, "without scripts a video is stopped by its controls"


def test_every_text__is_shown_as_typed(tmp_path: Path, pictures: tuple[Path, Path]) -> None:
    figure = Figure(HOSTILE, HOSTILE, pictures[0])
    parts: tuple[Part, ...] = (
        Remarks((Remark("error", HOSTILE, HOSTILE, (HOSTILE,)),)),
        Table((HOSTILE,), ((HOSTILE,), (Cell(HOSTILE, HOSTILE),)), HOSTILE),
        Scores((Score(HOSTILE, 0.5, (0.4, 0.6), HOSTILE),)),
        figure,
        Gallery((figure,), HOSTILE),
        Settings((Setting(HOSTILE, HOSTILE),)),
        Commands((Command(HOSTILE, HOSTILE),)),
        Text(HOSTILE),
    )
    report = Report(HOSTILE, (HOSTILE,), (Section(HOSTILE, parts, note=HOSTILE),), HOSTILE)
    write_report(tmp_path / "report.html", report)
    page = read(tmp_path / "report.html")
    assert "script" not in page.tags
    # Title (also in the head), summary, footer, section with note; remarks, table, scores, figure, gallery, the rest.
    assert page.text.count(HOSTILE) == (2 + 1 + 1 + 2) + 3 + 4 + 2 + 2 + 3 + 2 + 2 + 1
    assert page.attributes.count(("alt", HOSTILE)) == 2


def test_a_script__stands_only_where_something_moves_sorts_or_unfolds(tmp_path: Path) -> None:
    for name, section in {
        "plain": Section("s", (Table(("a",), (("1",),)),)),
        "sorts": Section("s", (Table(("a",), (("1",),), sorts=True),)),
        "folds": Section("s", (Text("x"),), fold=True),
        "empty": Section("s", (), fold=True),
    }.items():
        write_report(tmp_path / f"{name}.html", Report("t", (), (section,)))
    have = {path.stem for path in tmp_path.glob("*.html") if "script" in read(path).tags}
    assert have == {"sorts", "folds"}


def test_cells__say_what_a_table_sorts_by(tmp_path: Path) -> None:
    cells = (Cell("13 min", 0.21, is_number=True), Cell("–", None), "plain")
    write_report(tmp_path / "report.html", report_of(Table(("a", "b", "c"), (cells,), sorts=True)))
    orders = [value for name, value in read(tmp_path / "report.html").attributes if name == "data-order"]
    assert orders == ["0.21", "plain"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_none__sort_as_unknown(value: float) -> None:
    ((cell,),) = Table(("a",), ((Cell("–", value),),)).cells
    assert cell.order is None


@pytest.mark.skipif(shutil.which("node") is None, reason="wants node")
def test_columns__sort_in_pairs() -> None:
    """Numbers by value and first, texts by the numbers in them."""
    keys = [
        "incomplete",
        "0.95",
        "run-0.75",
        "0.5",
        "run-10",
        "1e-3",
        "run-9",
        "run-0.9",
        "-2",
        "run-0.5",
        "b",
        "0.75",
    ]
    script = Path(page_module.__file__).with_name("templates") / "page.js"
    browser = (
        "const document = {querySelectorAll: () => [], getElementById: () => null}, location = {hash: ''},"
        " addEventListener = () => {}, matchMedia = () => ({matches: false});"
    )
    shown = f"console.log(JSON.stringify({keys}.sort(compareKeys)))"
    program = f"{{ {browser}\n{script.read_text()}\n{shown} }}"
    done = subprocess.run(["node", "-e", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [
        "-2", "1e-3", "0.5", "0.75", "0.95", "b", "incomplete", "run-0.5", "run-0.75", "run-0.9", "run-9", "run-10",
    ]  # fmt: skip


def test_scores__are_stated_with_interval_and_conditions(tmp_path: Path) -> None:
    scores = (Score("fine-tuned", 0.6243, (0.55, 0.7), "104 videos"), Score("loss", 1.25))
    write_report(tmp_path / "report.html", report_of(Scores(scores)))
    words = read(tmp_path / "report.html").text.split()
    assert {"0.624", "0.550", "0.700", "104", "1.250", "none"} <= set(words)


def test_remarks_and_tables__show_everything(tmp_path: Path) -> None:
    remarks = (
        Remark("error", "bad split", "use another"),
        Remark("note", "fine", details=("a.mp4", "b.mp4")),
    )
    tables = (Table(("Video", "Cause"), (("c.mp4", "empty"),), "Faults"), Table(("", ""), (("x", "1"),)))
    write_report(tmp_path / "report.html", report_of(Remarks(remarks), *tables))
    page = read(tmp_path / "report.html")
    texts = ("bad split", "use another", "a.mp4", "b.mp4", "Faults", "Cause", "c.mp4")
    assert [text for text in texts if text not in page.text] == []
    assert ("class", "remark error") in page.attributes
    assert page.tags.count("details") == 1
    assert page.tags.count("thead") == 1


def test_contents__link_to_every_open_section(tmp_path: Path) -> None:
    sections = [
        Section(f"part {n}", (Text("x"),) if n != 2 else (), True if n == 5 else None) for n in range(7)
    ]
    write_report(tmp_path / "report.html", Report("t", (), tuple(sections)))
    attributes = read(tmp_path / "report.html").attributes
    links = [value.removeprefix("#") for name, value in attributes if name == "href"]
    places = [value for name, value in attributes if name == "id"]
    assert len(places) == 6, "the section without parts is left out"
    assert len(links) == 5, "a folded section is not in the list"
    assert set(links) < set(places)


def test_empty_parts__leave_no_heading(tmp_path: Path) -> None:
    report = Report("only a title", ("and a sentence",), (Section("nothing", ()),))
    write_report(tmp_path / "report.html", report)
    assert not {"h2", "table", "figure", "footer"} & set(read(tmp_path / "report.html").tags)


@pytest.mark.parametrize("picture", [b"<svg onload='x'>", b"", Path("nowhere/loss.png")])
def test_a_picture_that_is_none__is_refused_and_the_old_page_stays(
    tmp_path: Path, picture: bytes | Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(ConfigError, match="figure 'loss'"):
        write_report(path, report_of(Figure("loss", "", picture)))
    assert path.read_text() == "old"
