"""Our image processor gives transformers' numbers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from videomae_train.errors import CheckpointError, ConfigError
from videomae_train.model import (
    VideoMAEConfig,
    VideoMAEFeatureExtractor,
    VideoMAEForVideoClassification,
    VideoMAEImageProcessor,
)

RNG = np.random.default_rng(0)


def frames(height: int, width: int, count: int = 3) -> list[np.ndarray]:
    """Smooth bytes (H, W, C), so that a wrong resize shows as more than noise."""
    coarse = RNG.integers(0, 256, (count, height // 8, width // 8, 3), dtype=np.uint8)
    return [np.array(Image.fromarray(frame).resize((width, height))) for frame in coarse]


LANDSCAPE, PORTRAIT, SMALL = frames(240, 426), frames(300, 250), frames(64, 80)
INPUTS = {
    "arrays HWC": LANDSCAPE,
    "arrays CHW": [frame.transpose(2, 0, 1) for frame in LANDSCAPE],
    "PIL images": [Image.fromarray(frame) for frame in PORTRAIT],
    "tensors CHW": [torch.from_numpy(frame).permute(2, 0, 1) for frame in PORTRAIT],
    "array THWC": np.stack(LANDSCAPE),
    "tensor TCHW": torch.from_numpy(np.stack(LANDSCAPE)).permute(0, 3, 1, 2),
    "batch of lists": [LANDSCAPE, SMALL],
    "batch of arrays": [np.stack(LANDSCAPE), np.stack(SMALL)],
    "one image": Image.fromarray(LANDSCAPE[0]),
    "exact size": frames(224, 224),
    "floats 0..255": [frame.astype(np.float32) for frame in SMALL],
    "channels first or last": [RNG.integers(0, 256, (3, 40, 3), dtype=np.uint8)],
    "doubles around 0": list(RNG.standard_normal((2, 3, 224, 224))),
}


@pytest.mark.parametrize("name", INPUTS)
def test_pixels__equal_transformers(name: str) -> None:
    ours, theirs = VideoMAEImageProcessor(), transformers.VideoMAEImageProcessor()
    mine = ours(INPUTS[name], return_tensors="pt").pixel_values
    yours = theirs(INPUTS[name], return_tensors="pt").pixel_values
    assert mine.shape == yours.shape
    assert mine.dtype == yours.dtype == torch.float32
    assert (mine - yours).abs().max() <= 1e-6


@pytest.mark.parametrize(
    "changes",
    [
        {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)},
        {"size": {"shortest_edge": 112}, "crop_size": {"height": 96, "width": 128}},
        {"size": {"height": 100, "width": 90}, "do_center_crop": False},
        {"do_resize": False},
        {"do_resize": False, "crop_size": {"height": 101, "width": 99}},
        {"do_resize": False, "crop_size": {"height": 280, "width": 500}},
        {"do_rescale": False},
        {"do_normalize": False},
        {"resample": 3},
    ],
)
def test_every_field__means_what_transformers_means(changes: dict) -> None:
    mine = VideoMAEImageProcessor(**changes)(LANDSCAPE, return_tensors="pt").pixel_values
    yours = transformers.VideoMAEImageProcessor(**changes)(LANDSCAPE, return_tensors="pt").pixel_values
    assert mine.shape == yours.shape
    # Without rescaling the values go up to 510, so the last digit is coarser.
    assert (mine - yours).abs().max() <= 1e-6 * max(1.0, float(yours.abs().max()))


def test_without_return_tensors__a_list_and_np_an_array() -> None:
    processor = VideoMAEImageProcessor()
    assert isinstance(processor(SMALL).pixel_values, list)
    assert isinstance(processor(SMALL, return_tensors="np").pixel_values, np.ndarray)
    unit = [frame / 255.0 for frame in SMALL]
    again = processor(unit, return_tensors="pt", do_rescale=False).pixel_values
    assert (again - processor([f * 255.0 for f in unit], return_tensors="pt").pixel_values).abs().max() < 1e-5


def test_values__travel_through_both_systems(tmp_path: Path) -> None:
    ours = VideoMAEImageProcessor(image_mean=(0.1, 0.2, 0.3), size={"shortest_edge": 64})
    ours.save_pretrained(tmp_path / "ours")
    theirs = transformers.VideoMAEImageProcessor.from_pretrained(tmp_path / "ours")
    assert list(theirs.image_mean) == [0.1, 0.2, 0.3]
    theirs.save_pretrained(tmp_path / "theirs")
    back = VideoMAEImageProcessor.from_pretrained(tmp_path / "theirs")
    assert (back(SMALL)["pixel_values"][0] == ours(SMALL)["pixel_values"][0]).all()


def test_video_processor__saved_alone_by_transformers_is_read(tmp_path: Path) -> None:
    theirs = transformers.VideoMAEVideoProcessor(image_mean=[0.1, 0.2, 0.3], do_normalize=True)
    theirs.save_pretrained(tmp_path / "theirs")
    assert [file.name for file in (tmp_path / "theirs").iterdir()] == ["video_preprocessor_config.json"]
    assert VideoMAEImageProcessor.from_pretrained(tmp_path / "theirs").image_mean == (0.1, 0.2, 0.3)


def test_old_files__give_sizes_as_numbers(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text('{"size": 48, "crop_size": 40}')
    processor = VideoMAEImageProcessor.from_pretrained(tmp_path)
    assert processor(SMALL, return_tensors="pt").pixel_values.shape == (1, 3, 3, 40, 40)


def test_wrong_input__is_refused() -> None:
    with pytest.raises(ConfigError, match="list of videos"):
        VideoMAEImageProcessor()(np.zeros((1, 2, 8, 8, 3), dtype=np.uint8))
    with pytest.raises(ConfigError, match="channels"):
        VideoMAEImageProcessor()(np.zeros((2, 8, 8, 7), dtype=np.uint8))


def test_missing_file__is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json"):
        VideoMAEImageProcessor.from_pretrained(tmp_path)


def test_deprecated_name__warns_and_works() -> None:
    with pytest.warns(DeprecationWarning, match="VideoMAEImageProcessor"):
        extractor = VideoMAEFeatureExtractor()
    assert extractor(SMALL, return_tensors="pt").pixel_values.shape == (1, 3, 3, 224, 224)


@pytest.mark.parametrize("page", ["README.md", "docs/interop.md"])
def test_the_documented_snippet__runs_as_it_stands(page: str, tmp_path: Path) -> None:
    """Hugging Face's documentation of VideoMAE with our import line, and a folder in place of the hub id."""
    config = VideoMAEConfig(
        hidden_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=96,
        num_labels=400,
    )
    VideoMAEForVideoClassification(config).save_pretrained(tmp_path / "weights")
    text = (Path(__file__).parents[2] / page).read_text()
    (snippet,) = (part for part in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "id2label" in part)
    *lines, last = snippet.replace(
        "MCG-NJU/videomae-huge-finetuned-kinetics", str(tmp_path / "weights")
    ).splitlines()
    names: dict[str, object] = {}
    exec("\n".join(lines), names)
    assert eval(last, names).startswith("LABEL_")
