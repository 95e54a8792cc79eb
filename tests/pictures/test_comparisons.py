"""Figures that compare: what they show is what came in, and a single run claims no more than it has."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from videomae_train.errors import ConfigError
from videomae_train.pictures import (
    CurvePanel,
    Line,
    PlacedScore,
    Priced,
    confusion_picture,
    curve_panels,
    scores_by_budget,
    scores_by_cost,
    scores_by_ratio,
    style,
    webp_bytes,
)
from videomae_train.pictures.marks import looks_of, short_names


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures as they are when they are saved."""
    kept: list[Figure] = []
    write = style.save_drawing

    def keep(figure: Figure, path: Path) -> None:
        kept.append(figure)
        write(figure, path)

    monkeypatch.setattr(style, "save_drawing", keep)
    return kept


def legend(figure: Figure, place: int = 0) -> list[str]:
    found = figure.axes[place].get_legend()
    return [] if found is None else [text.get_text() for text in found.get_texts()]


def test_panels__show_lines_with_gaps_and_levels(tmp_path: Path, figures: list[Figure]) -> None:
    panels = [
        CurvePanel("loss", "loss", [Line("", [1, 2, 3], [1.0, np.nan, 0.5])], {"predicting the mean": 0.99}),
        CurvePanel("rate", "rate", [Line("", [1, 2, 3], [0.1, 0.2, 0.3])]),
    ]
    curve_panels(tmp_path / "new" / "curves.png", panels)
    loss, rate = figures[0].axes
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), [1.0, np.nan, 0.5])
    assert legend(figures[0]) == ["predicting the mean: 0.99"]
    assert (rate.get_ylabel(), rate.get_xlabel()) == ("rate", "optimizer step")
    assert legend(figures[0], 1) == []
    with Image.open(tmp_path / "new" / "curves.png") as image:
        assert image.mode == "P", "drawings are small"
        assert image.width > 1200


def test_lines_of_one_name__share_a_look_and_one_entry(tmp_path: Path, figures: list[Figure]) -> None:
    lines = [Line(f"run {number // 2}", [1, 2], [number, number]) for number in range(40)]
    curve_panels(tmp_path / "curves.png", [CurvePanel("", "loss", lines)])
    drawn = figures[0].axes[0].lines[:40]
    # Of dashes of our own, get_linestyle only says that they are some.
    looks = [(line.get_color(), str(line._unscaled_dash_pattern)) for line in drawn]  # type: ignore[attr-defined]  # pyright: ignore
    assert looks[0] == looks[1]
    assert len(set(looks)) == 20, "colour and dashes tell twenty names apart"
    assert legend(figures[0])[-1] == "and 4 more"
    assert len(legend(figures[0])) == 17


def test_scores_by_ratio__join_solidly_only_what_stands_on_several_seeds(
    tmp_path: Path, figures: list[Figure]
) -> None:
    scores = [
        PlacedScore(0.9, 0.6, (0.5, 0.7), 3),
        PlacedScore(0.5, 0.4, (0.3, 0.5), 3),
        PlacedScore(0.95, 0.7, None, 1),
    ]
    scores_by_ratio(tmp_path / "ratio.png", {"tube": scores}, {"chance": 0.25})
    axes = figures[0].axes[0]
    joined = {
        tuple(np.asarray(line.get_xdata()).tolist()): line.get_linestyle()
        for line in axes.lines
        if len(np.asarray(line.get_xdata())) == 2 and len(set(np.asarray(line.get_xdata()).tolist())) == 2
    }
    assert joined[(0.5, 0.9)] == "-"
    assert joined[(0.9, 0.95)] == ":"
    faces = [
        line.get_markerfacecolor()
        for line in axes.lines
        if line.get_marker() == "o" and len(line.get_xdata()) == 1
    ]  # type: ignore[arg-type]  # pyright: ignore
    assert [face == style.GROUND for face in faces] == [False, False, True]
    intervals = [line.get_ydata() for line in axes.lines if line.get_marker() == "_"]
    assert [tuple(np.asarray(ends).tolist()) for ends in intervals] == [(0.3, 0.5), (0.5, 0.7)]
    assert legend(figures[0]) == ["chance: 0.25", "tube"]
    assert axes.get_xticks().tolist() == [0.5, 0.9, 0.95]


def test_one_point__has_no_line(tmp_path: Path, figures: list[Figure]) -> None:
    scores_by_ratio(tmp_path / "ratio.png", {"tube": [PlacedScore(0.9, 0.6, None, 1)]}, {})
    lengths = [len(np.asarray(line.get_xdata())) for line in figures[0].axes[0].lines]
    assert max(lengths) == 1


def test_scores_by_cost__leave_out_what_is_not_known(tmp_path: Path, figures: list[Figure]) -> None:
    points = [Priced("a", 0.5, (0.4, 0.6), (1.0, None)), Priced("b", 0.7, None, (2.0, 30.0))]
    scores_by_cost(tmp_path / "cost.png", points, ("hours", "GiB"))
    hours, memory = figures[0].axes
    marks = [
        [
            float(x[0])
            for line in axes.lines
            if line.get_marker() in "os" and len(x := np.asarray(line.get_xdata()))
        ]
        for axes in (hours, memory)
    ]
    assert marks == [[1.0, 2.0], [30.0]]
    assert (hours.get_xlabel(), memory.get_xlabel()) == ("hours", "GiB")


def test_confusions__are_shares_of_rows_with_counts(tmp_path: Path, figures: list[Figure]) -> None:
    matrix = np.array([[8, 2], [0, 1]])
    confusion_picture(tmp_path / "confusion.png", matrix, ("jump", "run"))
    axes = figures[0].axes[0]
    np.testing.assert_allclose(np.asarray(axes.images[0].get_array()), [[0.8, 0.2], [0, 1]])
    assert [text.get_text() for text in axes.texts] == ["8", "2", "1"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["jump", "run"]


def test_many_classes__are_drawn_without_names(tmp_path: Path, figures: list[Figure]) -> None:
    confusion_picture(tmp_path / "confusion.png", np.eye(101, dtype=int), [f"class {k}" for k in range(101)])
    axes = figures[0].axes[0]
    assert len(axes.texts) == 0
    assert list(axes.get_xticks()) == []


def test_nothing__is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for draw in (
        lambda: curve_panels(path, []),
        lambda: curve_panels(path, [CurvePanel("", "", [])]),
        lambda: scores_by_ratio(path, {"tube": []}, {}),
        lambda: scores_by_cost(path, [], ("hours",)),
    ):
        with pytest.raises(ConfigError, match="nothing to draw"):
            draw()
    with pytest.raises(ConfigError, match="2 classes"):
        confusion_picture(path, np.zeros((2, 2), int), ("a", "b"))
    assert not path.exists()


def test_webp__is_small_and_keeps_its_shape() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    content = webp_bytes(image, 50)
    assert content[8:12] == b"WEBP"
    assert len(content) < 500


LONG = [
    f"experiment-{'x' * 60}+masking.ratio-{number}+{'finetune.optim.base_lr-0.001' * 2}"
    for number in range(20)
]


@pytest.mark.filterwarnings("error")
def test_long_names__leave_the_panels_their_room(tmp_path: Path, figures: list[Figure]) -> None:
    panel = CurvePanel("", "loss", [Line(name, [1, 2], [1, 2]) for name in LONG])
    curve_panels(tmp_path / "one.png", [panel])
    curve_panels(tmp_path / "three.png", [panel] * 3)
    scores = [PlacedScore(0.5, 0.4, (0.3, 0.5), 3)]
    scores_by_ratio(tmp_path / "ratio.png", dict.fromkeys(LONG, scores), {LONG[0]: 0.25})
    points = [Priced(name, 0.5, (0.4, 0.6), (1.0, 2.0, 3.0)) for name in LONG]
    scores_by_cost(tmp_path / "cost.png", points, ("hours", "views/s", "GiB"))
    for figure in figures:
        widths = [axes.get_position().width * figure.get_figwidth() for axes in figure.axes]
        assert min(widths) > 0.9, "inches"


def test_short_names__differ_as_the_long_ones_and_leave_short_ones_alone() -> None:
    shown = list(short_names(LONG).values())
    assert len(set(shown)) == len(LONG)
    assert max(map(len, shown)) < 46
    assert shown[3].startswith("…masking.ratio-3"), "what all begin with tells nothing"
    assert list(short_names(["tube 0.9", "random 0.9"]).values()) == ["tube 0.9", "random 0.9"]
    (alone,) = short_names(LONG[:1]).values()
    assert alone.startswith("experiment-x")


def test_scores_by_budget__are_a_panel_for_each_set(tmp_path: Path, figures: list[Figure]) -> None:
    tube = [PlacedScore(1, 0.7, (0.6, 0.8), 3), PlacedScore(0, 0.5, None, 1)]
    sets = {"clips": {"tube": tube, "scratch": tube[:1]}, "motions": {"scratch": tube[1:]}}
    scores_by_budget(tmp_path / "budget.png", sets, ["small", "fair"], {"clips": {"commonest class": 0.4}})
    clips, motions = figures[0].axes
    assert [axes.get_title(loc="left") for axes in (clips, motions)] == ["clips", "motions"]
    assert [tick.get_text() for tick in motions.get_xticklabels()] == ["small", "fair"]
    assert legend(figures[0]) == ["commonest class: 0.4"]
    assert legend(figures[0], 1) == []
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["tube", "scratch"]
    colours = [{line.get_color() for line in axes.lines} for axes in (clips, motions)]
    assert colours[1] < colours[0], "a line looks the same in every panel"
    with pytest.raises(ConfigError, match="nothing to draw"):
        scores_by_budget(tmp_path / "none.png", {"clips": {}}, [], {})


def test_looks__tell_more_names_apart_than_there_are_colours() -> None:
    looks = looks_of([f"mask {number}" for number in range(20)])
    assert len({(colour, marker) for colour, _, marker in looks.values()}) == 20, "scores have no dashes"
    assert len({(colour, str(dashes)) for colour, dashes, _ in looks.values()}) == 20, (
        "curves have no markers"
    )
