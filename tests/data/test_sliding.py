from pathlib import Path

import numpy as np
import pytest
import torch

from videomae_train.data import sliding
from videomae_train.data.decoding import decode_frames, probe_video
from videomae_train.data.frame_stream import stream_frames
from videomae_train.data.sliding import SlidingWindows, sliding_windows
from videomae_train.data.synthetic import generate_motion_videos
from videomae_train.data.transforms import as_clip, crop_views
from videomae_train.errors import ConfigError, DecodeCause, DecodeError

LENGTH = 50


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    return generate_motion_videos(folder, num_videos=10, seed=0, size=48, num_frames=LENGTH)[0]


def options(**changes: int) -> SlidingWindows:
    given = {"num_frames": 4, "stride": 3, "window_stride": 5, "size": 24, "num_crops": 2, **changes}
    return SlidingWindows(**given, antialias=True)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"window_stride": 1},
        {"window_stride": 20},
        {"num_frames": 20, "stride": 1},
        {"stride": 7, "window_stride": 2},
    ],
)
def test_windows__are_what_decoding_each_by_itself_gives(video: Path, changes: dict[str, int]) -> None:
    asked = options(**changes)
    windows = list(sliding_windows(stream_frames(video.read_bytes(), where="v"), asked))
    starts = list(range(0, LENGTH - asked.reach, asked.window_stride))
    assert [window.start_frame for window in windows] == starts
    assert len(starts) > 1
    for window in windows:
        frames = range(window.start_frame, window.start_frame + asked.reach + 1, asked.stride)
        alone = crop_views(as_clip(decode_frames(video.read_bytes(), list(frames), where="v")), asked.size, 2)
        assert torch.equal(window.clips, alone.permute(0, 1, 3, 4, 2))


def test_windows__begin_anywhere_and_go_on_the_same(video: Path) -> None:
    whole = list(sliding_windows(stream_frames(video.read_bytes(), where="v"), options()))
    for first in range(len(whole) + 1):
        rest = list(sliding_windows(stream_frames(video.read_bytes(), where="v"), options(), first=first))
        assert [window.start_frame for window in rest] == [window.start_frame for window in whole[first:]]
        assert all(
            torch.equal(one.clips, other.clips) for one, other in zip(rest, whole[first:], strict=True)
        )


def test_windows__know_when_they_are_shown(video: Path) -> None:
    fps = probe_video(video.read_bytes(), where="v").fps
    for window in sliding_windows(stream_frames(video.read_bytes(), where="v"), options()):
        assert window.start_sec == pytest.approx(window.start_frame / fps, abs=1e-3)


def test_short_video__is_one_clip_whose_last_frame_is_repeated(video: Path) -> None:
    asked = options(num_frames=30, stride=2, num_crops=1)
    (window,) = sliding_windows(stream_frames(video.read_bytes(), where="v"), asked)
    assert window.start_frame == 0
    frames = [min(2 * place, LENGTH - 2) for place in range(30)]
    alone = crop_views(as_clip(decode_frames(video.read_bytes(), frames, where="v")), 24, 1)
    assert torch.equal(window.clips, alone.permute(0, 1, 3, 4, 2))


def test_frames__are_converted_once_and_let_go(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held does not grow with the video."""
    asked = options(window_stride=2, stride=2)
    converted: list[int] = []
    held: list[int] = []
    put, window = sliding._Shelf.put, sliding._Shelf.window  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(
        sliding._Shelf,  # pyright: ignore[reportPrivateUsage]
        "put",
        lambda self, number, frame: converted.append(number) or put(self, number, frame),
    )
    monkeypatch.setattr(
        sliding._Shelf,  # pyright: ignore[reportPrivateUsage]
        "window",
        lambda self, numbers: held.append(len(self._crops) + len(self._fresh)) or window(self, numbers),
    )
    list(sliding_windows(stream_frames(video.read_bytes(), where="v"), asked))
    assert converted == list(range(0, LENGTH, 2))
    assert max(held) == asked.num_frames


@pytest.mark.parametrize("name", ["num_frames", "stride", "window_stride", "size", "num_crops"])
def test_options__of_nothing_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        options(**{name: 0})


def test_stream__gives_the_frames_that_decoding_by_number_gives(video: Path) -> None:
    from av.video.reformatter import VideoReformatter

    content = video.read_bytes()
    with video.open("rb") as file:
        shown = [frame.pixels(VideoReformatter()) for frame in stream_frames(file, where="v")]
    np.testing.assert_array_equal(np.stack(shown), decode_frames(content, range(LENGTH), where="v"))


@pytest.mark.parametrize(
    ("content", "cause"), [(b"", DecodeCause.EMPTY), (b"rubbish", DecodeCause.UNDECODABLE)]
)
def test_stream__of_no_video_is_a_typed_error(tmp_path: Path, content: bytes, cause: DecodeCause) -> None:
    file = tmp_path / "video.mp4"
    file.write_bytes(content)
    with file.open("rb") as opened:
        for video in (content, opened):
            with pytest.raises(DecodeError) as caught:
                list(stream_frames(video, where="v"))
            assert caught.value.cause == cause


def test_stream__of_a_cut_video_ends_in_an_error_and_not_in_silence(video: Path) -> None:
    content = video.read_bytes()
    cut = content[: len(content) * 6 // 10]
    with pytest.raises(DecodeError):
        list(stream_frames(cut, where="v"))
