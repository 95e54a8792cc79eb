from __future__ import annotations

import numpy as np
import pytest

from videomae_train.data.sampling import (
    middle_dense_window,
    sample_dense_window,
    sample_window,
    spread_windows,
)

LENGTHS = [1, 3, 5, 15, 16, 31, 32, 33, 40, 63, 64, 65, 66, 80, 300]


def published_window(num_frames: int, length: int, stride: int, start: int) -> list[int]:
    """The published rule, literally: a 1-based cursor that moves on while the next is below the count."""
    cursor, indices = start + 1, []
    for _ in range(length):
        indices.append(cursor - 1)
        if cursor + stride < num_frames:
            cursor += stride
    return indices


@pytest.mark.parametrize("num_frames", LENGTHS)
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_sample_window__follows_the_published_rule(num_frames: int, stride: int) -> None:
    rng = np.random.default_rng(0)
    starts = set[int]()
    for _ in range(1000):
        window = sample_window(num_frames, 16, stride, rng)
        assert window.tolist() == published_window(num_frames, 16, stride, int(window[0]))
        starts.add(int(window[0]))
    assert max(starts) <= max(num_frames - 16 * stride, 0)
    if num_frames <= 80:
        assert starts == set(range(max(num_frames - 16 * stride, 0) + 1)), "every start is possible"


@pytest.mark.parametrize(
    ("num_frames", "stride", "expected"),
    [
        (40, 4, [0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 36, 36, 36, 36, 36, 36]),
        (16, 4, [0, 4, 8] + [12] * 13),
        (5, 4, [0] * 16),
        (20, 2, [0, 2, 4, 6, 8, 10, 12, 14, 16] + [18] * 7),
    ],
)
def test_sample_window__short_videos(num_frames: int, stride: int, expected: list[int]) -> None:
    assert sample_window(num_frames, 16, stride, np.random.default_rng(0)).tolist() == expected


def test_dense_windows__have_the_published_spacing() -> None:
    spaced = np.array([0, 4, 8, 12, 17, 21, 25, 29, 34, 38, 42, 46, 51, 55, 59, 63])
    assert middle_dense_window(65, 16, 4).tolist() == spaced.tolist()
    rng = np.random.default_rng(0)
    starts = set[int]()
    for _ in range(300):
        window = sample_dense_window(100, 16, 4, rng)
        # Truncating start + k * 64/15 keeps the offsets, except that 63 comes from the clip to the span.
        assert (window - window[0]).tolist() == spaced.tolist()
        starts.add(int(window[0]))
    assert (min(starts), max(starts)) == (0, 35), "the end is one of 64..99"


@pytest.mark.parametrize(
    ("num_frames", "expected"),
    [(40, [0, 4, 8, 13, 17, 22, 26, 31, 35] + [39] * 7), (3, [2] * 16)],
)
def test_dense_windows__short_videos(num_frames: int, expected: list[int]) -> None:
    assert middle_dense_window(num_frames, 16, 4).tolist() == expected
    assert sample_dense_window(num_frames, 16, 4, np.random.default_rng(0)).tolist() == expected


def test_middle_dense_window__is_in_the_middle() -> None:
    assert middle_dense_window(164, 16, 4)[[0, -1]].tolist() == [50, 113]


def test_spread_windows__published_places() -> None:
    windows = spread_windows(300, 16, 4, 5)
    assert windows[:, [0, -1]].tolist() == [[0, 60], [56, 116], [116, 176], [176, 236], [236, 296]]
    assert (np.diff(windows, axis=1) == 4).all()


def test_spread_windows__one_clip_comes_from_the_middle() -> None:
    assert spread_windows(300, 16, 4, 1)[0, 0] == 29 * 4


@pytest.mark.parametrize("num_frames", LENGTHS)
def test_all_windows__stay_inside_the_video(num_frames: int) -> None:
    rng = np.random.default_rng(0)
    windows = [sample_window(num_frames, 8, 3, rng), sample_dense_window(num_frames, 8, 3, rng)]
    windows += [middle_dense_window(num_frames, 8, 3), *spread_windows(num_frames, 8, 3, 3)]
    for window in windows:
        assert window.shape == (8,)
        assert window.dtype == np.int64
        assert window.min() >= 0
        assert window.max() < num_frames
        assert (np.diff(window) >= 0).all()
