"""Strips: every pixel of a clip becomes a whole square of the picture."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from videomae_train.errors import ConfigError
from videomae_train.pictures import FrameRow, StripPanel, labelled_clip, reconstruction_strip
from videomae_train.pictures.strips import evenly_spaced


def noise(seed: int, shape: tuple[int, ...] = (8, 16, 16, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def contains(picture: np.ndarray, part: np.ndarray) -> bool:
    """Whether a part occurs somewhere in a picture, exactly."""
    height, width, _ = part.shape
    corners = np.argwhere((picture[: -height + 1, : -width + 1] == part[0, 0]).all(-1))
    return any(np.array_equal(picture[y : y + height, x : x + width], part) for y, x in corners)


def test_strip__shows_every_chosen_frame_of_every_row_crisply(tmp_path: Path) -> None:
    rows = [FrameRow("input", noise(0)), FrameRow("seen", noise(1)), FrameRow("reconstruction", noise(2))]
    panels = [StripPanel("", (rows[0],)), StripPanel("90 % hidden", (rows[1], rows[2]))]
    reconstruction_strip(tmp_path / "new" / "a.png", panels, title="title", notes=("note",), columns=(1, 6))
    picture = np.asarray(Image.open(tmp_path / "new" / "a.png").convert("RGB"))
    for row in rows:
        for frame in range(8):
            enlarged = row.frames[frame].repeat(8, axis=0).repeat(8, axis=1)
            assert contains(picture, enlarged) == (frame in (1, 6))


def test_strip__has_room_for_its_words(tmp_path: Path) -> None:
    panel = StripPanel("heading", (FrameRow("with original's statistics", noise(0)),))
    reconstruction_strip(tmp_path / "a.png", [panel], title="title", notes=("a note", "another"))
    picture = np.asarray(Image.open(tmp_path / "a.png").convert("L")).astype(int)
    border = np.concatenate([picture[:8].ravel(), picture[-8:].ravel(), picture[:, :8].ravel()])
    assert border.min() == 255
    frames_left = int(np.argmax((picture[-200:-100] < 250).mean(0) > 0.5))
    assert (picture[:, frames_left - 8 : frames_left] == 255).all()


def test_default_columns__include_the_first_and_the_last_frame() -> None:
    assert evenly_spaced(16, 6) == (0, 3, 6, 9, 12, 15)
    assert evenly_spaced(2, 6) == (0, 1)
    assert evenly_spaced(1, 6) == (0,)


def test_labelled_clip__stands_the_views_side_by_side() -> None:
    left, right = noise(3), noise(4)
    sheet = labelled_clip([FrameRow("input", left), FrameRow("a label that is much too long to fit", right)])
    assert sheet.dtype == np.uint8
    scale = 224 // 16
    wide = 16 * scale
    assert np.array_equal(sheet[:, -wide:, :wide][:, ::scale, ::scale], left)
    assert np.array_equal(sheet[:, -wide:, -wide:][:, ::scale, ::scale], right)
    band = sheet[0, :-wide]
    assert (band[:, :wide] < 128).any()
    assert (band[:, -wide:] < 128).any()


def test_rows_of_different_clips__are_refused(tmp_path: Path) -> None:
    panel = StripPanel("", (FrameRow("a", noise(0)), FrameRow("b", noise(0, (8, 16, 8, 3)))))
    with pytest.raises(ConfigError, match="all of one shape"):
        reconstruction_strip(tmp_path / "a.png", [panel])
    with pytest.raises(ConfigError, match="at least one row"):
        labelled_clip([])
