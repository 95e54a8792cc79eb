"""Histograms and bars: what they show is what came in."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from videomae_train.errors import ConfigError
from videomae_train.pictures import Histogram, count_bars, histogram_panels, style


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures as they are when they are saved."""
    kept: list[Figure] = []
    write = style.save_figure

    def keep(figure: Figure, path: Path) -> None:
        kept.append(figure)
        write(figure, path)

    monkeypatch.setattr(style, "save_figure", keep)
    return kept


@pytest.mark.parametrize(
    "values", [[3.0], [5.0] * 40, list(range(1000)), [*range(1000), 100_000], [30000 / 1001, 30.0]]
)
def test_histograms__count_every_value(tmp_path: Path, figures: list[Figure], values: list[float]) -> None:
    histogram_panels(tmp_path / "a.png", [Histogram("frames", values, 4.0, "clip")])
    (axes,) = figures[0].axes
    assert sum(bar.get_height() for bar in axes.patches) == len(values)
    assert len(axes.patches) <= 41
    assert axes.lines[0].get_xdata()[0] == 4.0
    assert np.asarray(Image.open(tmp_path / "a.png").convert("L")).std() > 0


def test_histograms__one_panel_each(tmp_path: Path, figures: list[Figure]) -> None:
    panels = [Histogram(name, [1.0, 2.0]) for name in "abcd"]
    histogram_panels(tmp_path / "a.png", panels)
    assert [axes.get_title(loc="left") for axes in figures[0].axes] == list("abcd")


def test_bars__are_as_long_as_the_counts_and_the_longest_is_on_top(
    tmp_path: Path, figures: list[Figure]
) -> None:
    count_bars(tmp_path / "a.png", {"walk": 3, "run": 12})
    (axes,) = figures[0].axes
    assert [bar.get_width() for bar in axes.patches] == [12, 3]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["run", "walk"]
    assert axes.yaxis_inverted()


def test_bars__of_very_many_become_an_outline(tmp_path: Path, figures: list[Figure]) -> None:
    count_bars(tmp_path / "a.png", {f"class {n}": n for n in range(400)}, ylabel="classes")
    (axes,) = figures[0].axes
    assert axes.get_xlabel() == "classes, the largest first"
    assert figures[0].get_size_inches()[1] < 5


def test_nothing_to_draw__is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="something to draw"):
        histogram_panels(tmp_path / "a.png", [Histogram("a", [])])
    with pytest.raises(ConfigError, match="something to draw"):
        count_bars(tmp_path / "a.png", {})
    assert not (tmp_path / "a.png").exists()
