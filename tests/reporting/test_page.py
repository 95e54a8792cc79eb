"""The report page: one file, nothing from outside, nothing interpreted."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from videomae_train.errors import ConfigError
from videomae_train.pictures import write_gif, write_png
from videomae_train.reporting import Command, Figure, Remark, Report, Score, Setting, Table, write_report

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
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


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
    write_report(tmp_path / "new" / "report.html", Report("t", ("s",), figures=figures))
    png.unlink()
    page = read(tmp_path / "new" / "report.html")
    sources = [value for name, value in page.attributes if name in ("src", "href")]
    assert [source.split(",")[0] for source in sources] == ["data:image/png;base64", "data:image/gif;base64"]
    assert base64.b64decode(sources[1].split(",")[1]) == gif.read_bytes()
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert not re.search(r"https?://|url\(|@import", (tmp_path / "new" / "report.html").read_text())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.html"]


def test_every_text__is_shown_as_typed(tmp_path: Path, pictures: tuple[Path, Path]) -> None:
    report = Report(
        title=HOSTILE,
        summary=(HOSTILE,),
        remarks=(Remark("error", HOSTILE, HOSTILE, (HOSTILE,)),),
        tables=(Table(HOSTILE, (HOSTILE,), ((HOSTILE,),), HOSTILE),),
        scores=(Score(HOSTILE, 0.5, (0.4, 0.6), HOSTILE),),
        figures=(Figure(HOSTILE, HOSTILE, pictures[0]),),
        settings=(Setting(HOSTILE, HOSTILE),),
        commands=(Command(HOSTILE, HOSTILE),),
        footer=HOSTILE,
    )
    write_report(tmp_path / "report.html", report)
    page = read(tmp_path / "report.html")
    assert "script" not in page.tags
    assert page.text.count(HOSTILE) == 18 + 1  # the title stands in the head too
    assert ("alt", HOSTILE) in page.attributes


def test_scores__are_stated_with_interval_and_conditions(tmp_path: Path) -> None:
    scores = (Score("fine-tuned", 0.6243, (0.55, 0.7), "104 videos"), Score("loss", 1.25))
    write_report(tmp_path / "report.html", Report("t", (), scores=scores))
    words = read(tmp_path / "report.html").text.split()
    assert {"0.624", "0.550", "0.700", "104", "1.250", "none"} <= set(words)


def test_remarks_and_tables__show_everything(tmp_path: Path) -> None:
    remarks = (
        Remark("error", "bad split", "use another"),
        Remark("note", "fine", details=("a.mp4", "b.mp4")),
    )
    tables = (
        Table("Faults", ("Video", "Cause"), (("c.mp4", "empty"),)),
        Table("Numbers", ("", ""), (("x", "1"),)),
    )
    write_report(tmp_path / "report.html", Report("t", (), remarks=remarks, tables=tables))
    page = read(tmp_path / "report.html")
    texts = ("bad split", "use another", "a.mp4", "b.mp4", "Faults", "Cause", "c.mp4", "Numbers")
    assert [text for text in texts if text not in page.text] == []
    assert ("class", "remark error") in page.attributes
    assert page.tags.count("details") == 1
    assert page.tags.count("thead") == 1


def test_empty_parts__leave_no_heading(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", Report("only a title", ("and a sentence",)))
    assert not {"h2", "table", "figure", "footer"} & set(read(tmp_path / "report.html").tags)


@pytest.mark.parametrize("picture", [b"<svg onload='x'>", b"", Path("nowhere/loss.png")])
def test_a_picture_that_is_none__is_refused_and_the_old_page_stays(
    tmp_path: Path, picture: bytes | Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(ConfigError, match="figure 'loss'"):
        write_report(path, Report("t", (), figures=(Figure("loss", "", picture),)))
    assert path.read_text() == "old"
