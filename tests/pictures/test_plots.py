"""Curves and bars: what they show is what came in."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from videomae_train.errors import ConfigError
from videomae_train.pictures import loss_curve, score_bars, style
from videomae_train.pictures.plots import running_median


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures as they are when they are saved."""
    kept: list[Figure] = []

    def keep(figure: Figure, path: Path) -> None:
        kept.append(figure)
        write(figure, path)

    write = style.save_figure
    monkeypatch.setattr(style, "save_figure", keep)
    return kept


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_loss_curve__shows_losses_baselines_and_the_last_value(tmp_path: Path, figures: list[Figure]) -> None:
    steps, losses = list(range(0, 400, 4)), np.linspace(1.1, 0.5, 100).tolist()
    before = dict(mpl.rcParams)
    loss_curve(tmp_path / "new" / "loss.png", steps, losses, {"predict the mean": 0.992})
    assert dict(mpl.rcParams) == before
    axes = figures[0].axes[0]
    assert np.array_equal(axes.lines[0].get_ydata(), losses)
    assert axes.lines[2].get_ydata()[0] == 0.992
    assert words(figures[0]) == ["predict the mean: 0.992", "0.503"]
    low, high = axes.get_ylim()
    assert low < 0.5
    assert high > 1.1
    assert Image.open(tmp_path / "new" / "loss.png").size[0] > 900


def test_loss_curve__keeps_its_scale_under_a_spike_and_shows_far_baselines(
    tmp_path: Path, figures: list[Figure]
) -> None:
    losses = np.full(400, 0.5)
    losses[7], losses[9] = 1000.0, np.nan
    loss_curve(tmp_path / "loss.png", range(400), losses.tolist(), {"far": 2.0})
    low, high = figures[0].axes[0].get_ylim()
    assert low < 0.5
    assert 2.0 < high < 3.0


@pytest.mark.parametrize("losses", [[0.7], [float("nan")], [0.5, 0.5]])
def test_loss_curve__draws_what_little_there_is(tmp_path: Path, losses: list[float]) -> None:
    loss_curve(tmp_path / "loss.png", range(len(losses)), losses)
    assert np.asarray(Image.open(tmp_path / "loss.png").convert("L")).std() > 0


def test_running_median__ignores_single_spikes_and_follows_levels() -> None:
    values = np.r_[np.ones(20), np.zeros(20)]
    values[5], values[30] = 99.0, np.inf
    smooth = running_median(values, window=5)
    assert np.array_equal(smooth, np.r_[np.ones(20), np.zeros(20)])


def test_score_bars__are_as_long_as_the_scores(tmp_path: Path, figures: list[Figure]) -> None:
    scores = {"pretrained": (0.62, (0.55, 0.69)), "from scratch": (0.41, None)}
    score_bars(tmp_path / "bars.png", scores, chance=0.1)
    axes = figures[0].axes[0]
    assert [bar.get_width() for bar in axes.patches] == [0.62, 0.41]
    assert list(axes.lines[0].get_xdata()) == [0.55, 0.69]
    assert {"pretrained", "from scratch", "0.620", "0.410", "chance 0.10"} == set(words(figures[0]))
    assert axes.get_xlim() == (0, 1)
    first, second = (bar.get_y() for bar in axes.patches)
    assert first < second
    assert axes.yaxis_inverted()


def test_wrong_numbers__are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="2 steps and 1 losses"):
        loss_curve(tmp_path / "a.png", [0, 1], [0.5])
    with pytest.raises(ConfigError, match="Divide percentages by 100"):
        score_bars(tmp_path / "a.png", {"a": (62.0, None)}, None)
    assert not (tmp_path / "a.png").exists()
