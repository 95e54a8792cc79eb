"""Images and videos that were written can be read, and show what was put in."""

from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from videomae_train.errors import ConfigError
from videomae_train.pictures import write_gif, write_mp4, write_png


def moving_square(height: int, width: int, num_frames: int = 6) -> np.ndarray:
    frames = np.full((num_frames, height, width, 3), (40, 90, 160), np.uint8)
    for number in range(num_frames):
        frames[number, 4:12, 2 + 2 * number : 10 + 2 * number] = (230, 120, 30)
    return frames


def test_png__is_lossless(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
    write_png(tmp_path / "new" / "a.png", image)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "new" / "a.png")), image)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47)])
def test_mp4__is_h264_of_even_size_and_close_to_the_frames(tmp_path: Path, height: int, width: int) -> None:
    frames = moving_square(height, width)
    write_mp4(tmp_path / "a.mp4", frames, fps=7.5)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 7.5)
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
    assert decoded.shape == (6, height + height % 2, width + width % 2, 3)
    assert np.abs(decoded[:, :height, :width].astype(int) - frames).mean() < 8


def test_mp4__that_is_not_finished_has_no_name_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = av.VideoFrame.from_ndarray(moving_square(32, 32)[0], format="rgb24")
    frames = iter([made] * 90)  # more than the encoder looks ahead
    monkeypatch.setattr(av, "VideoFrame", SimpleNamespace(from_ndarray=lambda *_, **__: next(frames)))
    with pytest.raises(StopIteration):
        write_mp4(tmp_path / "a.mp4", np.zeros((100, 32, 32, 3), np.uint8), fps=8)
    assert not (tmp_path / "a.mp4").exists()


def test_gif__loops_for_ever_at_its_speed_with_equal_still_parts(tmp_path: Path) -> None:
    frames = moving_square(20, 30)
    write_gif(tmp_path / "a.gif", frames, fps=10)
    with Image.open(tmp_path / "a.gif") as image:
        assert (image.n_frames, image.info["loop"], image.info["duration"]) == (6, 0, 100)
        shown = []
        for number in range(6):
            image.seek(number)
            shown.append(np.asarray(image.convert("RGB")))
    assert np.abs(np.stack(shown).astype(int) - frames).max() < 12
    assert all(np.array_equal(frame[14:], shown[0][14:]) for frame in shown)


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((2, 8, 8, 3), np.float32),
        np.zeros((2, 3, 8, 8), np.uint8),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
    ],
)
def test_other_arrays__are_refused_by_name(tmp_path: Path, frames: np.ndarray) -> None:
    for write, name in ((write_mp4, "a.mp4"), (write_gif, "a.gif")):
        with pytest.raises(ConfigError, match=name):
            write(tmp_path / name, frames, 8)
        assert not (tmp_path / name).exists()
