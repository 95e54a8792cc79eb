"""transformers' pipeline with a folder of ours, as it is, beside our own predictions."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from videomae_train.data.decoding import decode_frames
from videomae_train.data.options import ViewOptions
from videomae_train.data.sampling import first_window
from videomae_train.data.synthetic import generate_motion_videos
from videomae_train.data.transforms import as_clip, crop_views
from videomae_train.inference import Prediction, VideoPredictor
from videomae_train.model import VideoMAEConfig, VideoMAEForVideoClassification, normalise_clips

transformers: Any = pytest.importorskip("transformers")
CONFIG = VideoMAEConfig(
    image_size=32, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=48, head_init_scale=20.0, id2label={0: "left", 1: "right", 2: "stand"},
)  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier") / "weights"
    torch.manual_seed(0)
    VideoMAEForVideoClassification(CONFIG).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    return generate_motion_videos(folder, num_videos=10, seed=0, size=64, num_frames=20)


@pytest.fixture(scope="module")
def pipe(weights: Path) -> Any:
    return transformers.pipeline("video-classification", model=str(weights), device="cpu")


def by_label(scores: list[dict[str, Any]]) -> dict[str, float]:
    return {each["label"]: each["score"] for each in scores}


def predictions(weights: Path, videos: list[Path], windows: Any, stride: int | None) -> list[Prediction]:
    model = VideoMAEForVideoClassification.from_pretrained(weights)
    options = ViewOptions(4, windows, stride, None, 32, num_clips=1, num_crops=1, antialias=True)
    return list(VideoPredictor(model, options, device="cpu", num_workers=0).predict(videos))


def check_equal(ours: list[Prediction], theirs: list[dict[str, float]]) -> None:
    spread = np.ptp([scores["left"] for scores in theirs])
    assert spread > 0.01, "the videos differ"
    for prediction, scores in zip(ours, theirs, strict=True):
        assert prediction.classes[0].label == max(scores, key=scores.__getitem__)
        assert {each.label: each.probability for each in prediction.classes} == pytest.approx(
            scores, abs=1e-5
        )


def test_equal_clips__give_equal_pixels_and_logits(weights: Path, pipe: Any, videos: list[Path]) -> None:
    """Frames as they are: what both make of them, up to the rounding of normalising and of sums."""
    model = VideoMAEForVideoClassification.from_pretrained(weights)
    for video in videos[:4]:
        frames = decode_frames(video.read_bytes(), range(0, 20, 5), where="")
        pixels = pipe.preprocess(frames)["pixel_values"]
        clip = crop_views(as_clip(frames), 32, 1)
        torch.testing.assert_close(pixels, normalise_clips(clip), atol=1e-6, rtol=0)
        logits = by_label(pipe(frames, function_to_apply="none"))
        with torch.inference_mode():
            (ours,) = model.classify(clip).tolist()
        assert dict(zip(CONFIG.id2label.values(), ours, strict=True)) == pytest.approx(logits, abs=1e-4)


def test_frames__of_the_whole_video_are_chosen_as_interleaved_windows_do(
    weights: Path, pipe: Any, videos: list[Path]
) -> None:
    """The pipeline takes every n-th frame; so does one interleaved clip."""
    theirs = [by_label(pipe(decode_frames(video.read_bytes(), range(20), where=""))) for video in videos]
    check_equal(predictions(weights, videos, "interleaved", None), theirs)


def test_files__that_pyav_decodes_give_the_same(weights: Path, pipe: Any, videos: list[Path]) -> None:
    """Without its video processor the pipeline decodes with PyAV, the video's first frames only."""
    processor, pipe.video_processor = pipe.video_processor, None
    try:
        theirs = [by_label(pipe(str(video), frame_sampling_rate=2)) for video in videos]
    finally:
        pipe.video_processor = processor
    check_equal(predictions(weights, videos, "first", 2), theirs)


def test_files__as_they_are_give_the_same(weights: Path, pipe: Any, videos: list[Path]) -> None:
    try:
        importlib.import_module("torchcodec.decoders")
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"the pipeline decodes files with torchcodec and FFmpeg: {error}")
    theirs = [by_label(pipe(str(video))) for video in videos]
    ours = predictions(weights, videos, "interleaved", None)
    for prediction, scores in zip(ours, theirs, strict=True):
        assert prediction.classes[0].label == max(scores, key=scores.__getitem__)
        found = {each.label: each.probability for each in prediction.classes}
        assert found == pytest.approx(scores, abs=1e-2), (
            "another decoder converts colours a little differently"
        )


def test_first_window__is_the_pipeline_s(pipe: Any) -> None:
    for length, stride in ((4, 1), (4, 2), (16, 4), (16, 1)):
        theirs = np.linspace(0, length * stride - 1, num=length, dtype=np.int64)
        np.testing.assert_array_equal(first_window(1000, length, stride), theirs)
