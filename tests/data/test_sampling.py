from __future__ import annotations

import numpy as np
import pytest

from videomae_train.data.sampling import (
    interleaved_windows,
    middle_dense_window,
    middle_uniform_window,
    middle_window,
    sample_dense_window,
    sample_uniform_window,
    sample_window,
    spread_windows,
    stride_of_interval,
)
from videomae_train.errors import ConfigError

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


@pytest.mark.parametrize("num_frames", [*LENGTHS, 117, 250])
@pytest.mark.parametrize(("stride", "num_clips"), [(4, 5), (2, 5), (4, 2), (3, 7)])
def test_spread_windows__are_the_published_lists(num_frames: int, stride: int, num_clips: int) -> None:
    frames = list(range(0, num_frames, stride))
    while len(frames) < 16:
        frames.append(frames[-1])
    step = max((len(frames) - 16) / (num_clips - 1), 0)
    lists = [frames[int(clip * step) : int(clip * step) + 16] for clip in range(num_clips)]
    assert spread_windows(num_frames, 16, stride, num_clips).tolist() == lists


@pytest.mark.parametrize("num_frames", [*LENGTHS, 117, 250])
def test_dense_windows__are_the_published_lists(num_frames: int) -> None:
    def published(end: int) -> list[int]:
        if num_frames > 64:
            spaced = np.linspace(end - 64, end, num=16)
            return [min(int(place), end - 1) for place in spaced]
        spaced = [*np.linspace(0, num_frames, num=num_frames // 4), *[num_frames] * 16][:16]
        return [int(min(place, num_frames - 1)) for place in spaced]

    ends = range(64, num_frames) if num_frames > 64 else [0]
    rng, drawn = np.random.default_rng(0), set[tuple[int, ...]]()
    for _ in range(60 * len(ends) if len(ends) < 40 else 300):
        drawn.add(tuple(sample_dense_window(num_frames, 16, 4, rng).tolist()))
    lists = {tuple(published(end)) for end in ends}
    assert drawn == lists or (len(ends) >= 40 and drawn < lists)
    assert middle_dense_window(num_frames, 16, 4).tolist() == published((64 + num_frames) // 2)


def test_spread_windows__one_clip_comes_from_the_middle() -> None:
    assert spread_windows(300, 16, 4, 1)[0, 0] == 29 * 4


@pytest.mark.parametrize(("length", "num_frames"), [(16, 300), (16, 50), (16, 31), (16, 16), (8, 37)])
def test_sample_uniform_window__draws_one_frame_of_each_part(length: int, num_frames: int) -> None:
    rng = np.random.default_rng(0)
    part = num_frames // length
    drawn = np.stack(
        [sample_uniform_window(num_frames, length, rng, short_videos="all_frames") for _ in range(400)]
    )
    offsets = drawn - np.arange(length) * part
    assert (offsets.min(), offsets.max()) == (0, part - 1), (
        "every frame of a part is possible, none beside it"
    )
    if part > 1:
        assert abs(offsets.mean() / (part - 1) - 0.5) < 0.02, "uniformly"
        assert abs(np.corrcoef(offsets[:, 0], offsets[:, 1])[0, 1]) < 0.2, "each part by itself"


@pytest.mark.parametrize(
    ("short_videos", "expected"), [("first_frame", [0] * 16), ("all_frames", [0] * 11 + [0, 1, 2, 3, 4])]
)
def test_uniform_windows__short_videos(short_videos: str, expected: list[int]) -> None:
    rng = np.random.default_rng(0)
    assert sample_uniform_window(5, 16, rng, short_videos=short_videos).tolist() == expected


def test_middle_uniform_window__published_places() -> None:
    assert middle_uniform_window(50, 16).tolist() == [3 * i + 1 for i in range(16)]
    assert middle_uniform_window(300, 16).tolist() == [18 * i + 9 for i in range(16)]
    assert middle_uniform_window(5, 16).tolist() == [0] * 12 + [1, 2, 3, 4]


@pytest.mark.parametrize("num_frames", [*LENGTHS, 50, 117])
def test_interleaved_windows__are_the_published_lists(num_frames: int) -> None:
    tick = num_frames / 16
    both = sorted([int(tick * x) for x in range(16)] + [int(tick / 2 + tick * x) for x in range(16)])
    assert interleaved_windows(num_frames, 16, 2).tolist() == [both[0::2], both[1::2]]


def test_interleaved_windows__share_no_frame_where_there_are_enough() -> None:
    windows = interleaved_windows(300, 16, 3)
    assert len(np.unique(windows)) == 48
    assert windows[:, 0].tolist() == [0, 6, 12]


def test_strided_windows__keep_the_stride() -> None:
    assert middle_window(164, 16, 4).tolist() == list(range(50, 114, 4))
    assert middle_window(40, 16, 4).tolist() == sample_window(40, 16, 4, np.random.default_rng(0)).tolist()


def test_stride_of_interval__is_in_frames_of_the_video() -> None:
    assert stride_of_interval(0.16, 25.0) == 4
    assert stride_of_interval(1 / 3, 12.0) == 4
    assert stride_of_interval(0.16, float(np.float32(29.97))) == pytest.approx(4.7952, abs=1e-5)
    with pytest.raises(ConfigError, match=r"frame_interval_sec: a video of 0\.0 frames per second"):
        stride_of_interval(0.16, 0.0)


@pytest.mark.parametrize("fps", [12.0, 23.976, 25.0, 29.97, 50.0])
def test_windows__of_seconds_take_the_nearest_frames(fps: float) -> None:
    stride = stride_of_interval(0.13, fps)
    window = sample_window(1000, 16, stride, np.random.default_rng(0))
    moments = window[0] / fps + 0.13 * np.arange(16)
    # No other frame is nearer to the moment that is asked for.
    assert np.abs(window / fps - moments).max() <= 0.5 / fps + 1e-6
    assert window[-1] < 1000
    spread = spread_windows(1000, 16, stride, 3)
    assert np.abs((spread - spread[:, :1]) / fps - 0.13 * np.arange(16)).max() <= 1.0 / fps + 1e-6
    assert sample_dense_window(1000, 16, stride, np.random.default_rng(0)).shape == (16,)


@pytest.mark.parametrize("stride", [1, 2, 4, 7])
def test_windows__of_whole_strides_are_the_same_in_floats(stride: int) -> None:
    for num_frames in LENGTHS:
        for sample in (sample_window, sample_dense_window):
            one, two = (
                sample(num_frames, 16, kind(stride), np.random.default_rng(1)) for kind in (int, float)
            )
            assert one.tolist() == two.tolist()
        one, two = (spread_windows(num_frames, 16, kind(stride), 5) for kind in (int, float))
        assert one.tolist() == two.tolist()


@pytest.mark.parametrize("stride", [3, 2.4, 0.7])
@pytest.mark.parametrize("num_frames", LENGTHS)
def test_all_windows__stay_inside_the_video(num_frames: int, stride: float) -> None:
    rng = np.random.default_rng(0)
    windows = [sample_window(num_frames, 8, stride, rng), sample_dense_window(num_frames, 8, stride, rng)]
    windows += [middle_dense_window(num_frames, 8, stride), middle_window(num_frames, 8, stride)]
    windows += [middle_uniform_window(num_frames, 8), *interleaved_windows(num_frames, 8, 3)]
    windows += [sample_uniform_window(num_frames, 8, rng, short_videos="first_frame")]
    windows += [*spread_windows(num_frames, 8, stride, 3)]
    for window in windows:
        assert window.shape == (8,)
        assert window.dtype == np.int64
        assert window.min() >= 0
        assert window.max() < num_frames
        assert (np.diff(window) >= 0).all()
