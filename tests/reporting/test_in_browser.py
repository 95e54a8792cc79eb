"""The page in a real browser: no complaint, every picture there, the table sorts by click and by key."""

from pathlib import Path

import numpy as np
import pytest
from headless_chromium import PROGRAM, OpenPage, in_browser
from run_folders import NOW, write_point, write_training

from videomae_train.pictures import write_mp4
from videomae_train.reporting import Cell, Report, Section, Table, write_report
from videomae_train.reporting.finding import find_points
from videomae_train.reporting.runs_page import compose_report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="wants Chromium: apt-get install chromium"),
]

PICTURES = (
    """Promise.all([...document.images].map((image) => image.decode().then(() => image.naturalWidth > 1)))"""
)
VIDEOS = """Promise.all([...document.querySelectorAll("video")].map((video) => new Promise((done) => {
  const check = () => video.readyState >= 2 ? done(video.videoWidth > 1) : setTimeout(check, 50);
  check();
})))"""
COLUMN = """(name) => {
  const table = document.querySelector("table.sorts:has(td:nth-child(13))");
  const place = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent.startsWith(name));
  return [...table.tBodies[0].rows].map((row) => row.cells[place].textContent);
}"""
HEADING = """(name) => [...document.querySelectorAll("table.sorts:has(td:nth-child(13)) th")]
  .find((cell) => cell.textContent.startsWith(name))"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of three points, a run that goes on, and one that has failed, with a name like HTML."""
    folder = tmp_path_factory.mktemp("page")
    for ratio, wrong in ((0.5, 5), (0.75, 10), (0.9, 1)):
        run = write_point(folder / "sweep" / f"ratio-{ratio}", "tube", ratio, 0, wrong=wrong)
        clip = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3), np.uint8)
        write_mp4(run / "pretrain" / "reconstructions" / "step-00000004.mp4", clip, 4)
    write_training(folder / "sweep" / "<b>failed", finished=False, attempt={"failure": "E: why"})
    write_training(folder / "sweep" / "running", losses=[1.0], finished=False, attempt={})
    found = find_points([folder / "sweep"], NOW)
    report = compose_report(
        found, title="a sweep", figures=folder / "figures", loops={}, data=None, notes=(), now=NOW
    )
    write_report(folder / "report.html", report)
    return folder / "report.html"


def test_nothing_is_wrong_and_every_picture_is_there(page: Path) -> None:
    async def visit(opened: OpenPage) -> tuple[list[bool], list[bool], list[str]]:
        return await opened.evaluate(PICTURES), await opened.evaluate(VIDEOS), opened.complaints

    pictures, videos, complaints = in_browser(page, visit)
    assert complaints == []
    assert len(pictures) > 8
    assert all(pictures)
    assert videos == [True] * 3


def test_table__sorts_by_click_and_by_key_with_unknown_values_last(page: Path) -> None:
    async def visit(opened: OpenPage) -> dict[str, object]:
        seen: dict[str, object] = {}
        for name in ("ascending", "descending"):
            await opened.evaluate(f"({HEADING})('Top').querySelector('button').click()")
            seen[name] = await opened.evaluate(f"({COLUMN})('Top')")
            seen[f"{name} aria"] = await opened.evaluate(f"({HEADING})('Top').getAttribute('aria-sort')")
        await opened.evaluate(f"({HEADING})('Hours').querySelector('button').focus()")
        for kind in ("keyDown", "keyUp"):
            await opened.send("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r",
                              windowsVirtualKeyCode=13)  # fmt: skip
        seen["by key"] = await opened.evaluate(f"({HEADING})('Hours').getAttribute('aria-sort')")
        seen["before"] = await opened.evaluate(f"({HEADING})('Top').getAttribute('aria-sort')")
        return seen

    assert in_browser(page, visit) == {
        "ascending": ["0.000", "0.500", "0.900", "–", "–"],
        "ascending aria": "ascending",
        "descending": ["0.900", "0.500", "0.000", "–", "–"],
        "descending aria": "descending",
        "by key": "ascending",
        "before": "none",
    }


def test_columns_of_numbers_and_texts__sort_in_pairs(tmp_path: Path) -> None:
    """One text among numbers leaves them numbers."""
    cells = [Cell(f"{order}", order) for order in (0.95, "incomplete", float("nan"), 0.5, None, 0.75, 10)]
    rows = tuple((f"run-{number}", cell) for number, cell in enumerate(cells))
    table = Table(("Run", "Value"), rows, sorts=True)
    write_report(tmp_path / "report.html", Report("t", (), (Section("s", (table,)),)))

    async def visit(opened: OpenPage) -> list[str]:
        await opened.evaluate("document.querySelectorAll('th button')[1].click()")
        return await opened.evaluate(
            "[...document.querySelectorAll('td:last-child')].map((cell) => cell.textContent)"
        )

    shown = in_browser(tmp_path / "report.html", visit)
    assert shown == ["0.5", "0.75", "0.95", "10", "incomplete", "nan", "None"]


def test_videos__stop_and_start_by_a_button_and_runs_unfold(page: Path) -> None:
    async def visit(opened: OpenPage) -> tuple[list[bool], list[bool], bool, bool]:
        paused = "[...document.querySelectorAll('video')].map((video) => video.paused)"
        await opened.evaluate(VIDEOS)
        before = await opened.evaluate(paused)
        await opened.evaluate("document.querySelector('.motion').click()")
        after = await opened.evaluate(paused)
        folded = await opened.evaluate("document.querySelector('details.fold').open")
        await opened.evaluate("location.hash = document.querySelector('details.fold').closest('section').id")
        await opened.evaluate("new Promise((done) => setTimeout(done, 100))")
        return before, after, folded, await opened.evaluate("document.querySelector('details.fold').open")

    assert in_browser(page, visit) == ([False] * 3, [True] * 3, False, True)


def test_page__fits_a_phone_in_light_and_dark(page: Path, tmp_path: Path) -> None:
    async def visit(opened: OpenPage) -> list[tuple[int, str]]:
        seen: list[tuple[int, str]] = []
        for scheme in ("light", "dark"):
            await opened.look(tmp_path / f"{scheme}.png", width=390, scheme=scheme, mobile=True)
            width = await opened.evaluate("document.documentElement.scrollWidth")
            ground = await opened.evaluate("getComputedStyle(document.body).backgroundColor")
            seen.append((width, ground))
        return seen

    (light_width, light), (dark_width, dark) = in_browser(page, visit)
    assert (light_width, dark_width) == (390, 390), "wide things scroll in their own boxes"
    assert light != dark
