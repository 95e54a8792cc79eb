from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from torch.utils.data.dataloader import (
    _MultiProcessingDataLoaderIter,  # pyright: ignore[reportPrivateUsage]
)

from videomae_train.data.datasets import EvaluationDataset
from videomae_train.data.index import PackedDataset
from videomae_train.data.loader import evaluation_loader
from videomae_train.data.options import EvaluationDataOptions, LoaderOptions
from videomae_train.data.views import Video
from videomae_train.errors import CheckpointError, ConfigError
from videomae_train.evaluation.scoring import score_videos
from videomae_train.inference import Prediction, VideoPredictor
from videomae_train.inference.prediction import published_views
from videomae_train.model import VideoMAEConfig, VideoMAEForVideoClassification, load_classifier
from videomae_train.model.cards import TrainedClips, Videos, WeightsFacts, new_card


def predictor_of(weights: Path, **changes: Any) -> VideoPredictor:
    return VideoPredictor.from_pretrained(
        weights, **{"num_clips": 2, "stride": 2, "num_workers": 0, "top_k": 3, **changes}, device="cpu"
    )


def probabilities(prediction: Prediction) -> dict[str, float]:
    return {each.label: each.probability for each in prediction.classes}


@pytest.mark.parametrize(("stride", "interval_sec"), [(2, None), (None, 0.16)])
def test_predictions__are_the_scores_of_evaluate_to_the_last_digit(
    weights: Path, packed_motions: Path, motion_videos: Path, stride: int | None, interval_sec: float | None
) -> None:
    options = EvaluationDataOptions(
        path=packed_motions, selection="all", num_frames=4, windows="spread", stride=stride,
        frame_interval_sec=interval_sec, size=16, num_clips=2, num_crops=3, antialias=True,
    )  # fmt: skip
    dataset = PackedDataset.open(packed_motions)
    loader = evaluation_loader(
        EvaluationDataset(dataset.select("all"), options), LoaderOptions(0, 2, False, 60.0), batch_videos=1
    )
    scores = score_videos(load_classifier(weights), loader, torch.device("cpu"))
    keys = [dataset.key(number) for number in scores.sample_ids.tolist()]
    contents = {path.read_bytes(): path for path in (motion_videos.parent / "videos").rglob("*.mp4")}
    paths = [contents[dataset.read_bytes(number)] for number in scores.sample_ids.tolist()]
    predictor = VideoPredictor(load_classifier(weights), options, device="cpu", num_workers=0, top_k=3)
    predictions = list(predictor.predict(paths))
    assert len(predictions) == len(keys) == 16
    names = list(load_classifier(weights).config.id2label.values())
    for prediction, expected in zip(predictions, scores.probabilities, strict=True):
        found = probabilities(prediction)
        np.testing.assert_array_equal(np.array([found[name] for name in names], np.float32), expected)
        assert [each.probability for each in prediction.classes] == sorted(found.values(), reverse=True)
    assert len({prediction.classes[0].probability for prediction in predictions}) > 8, "the videos differ"


def test_three_lines__of_python(weights: Path, files: list[Path]) -> None:
    predictor = VideoPredictor.from_pretrained(weights, device="cpu", num_workers=0)
    for prediction in predictor.predict(files[:1]):
        assert (prediction.path, prediction.num_frames, len(prediction.classes)) == (files[0], 16, 3)
        assert sum(probabilities(prediction).values()) == pytest.approx(1.0)
    assert (predictor.views.num_clips, predictor.views.num_crops, predictor.views.stride) == (5, 3, 4)
    assert (predictor.views.num_frames, predictor.views.size) == (4, 16)


@pytest.mark.parametrize(
    ("trained", "asked", "views"),
    [
        (TrainedClips(False, 2, None, antialias=False), {}, ("spread", 2, None, False, 5)),
        (TrainedClips(False, None, 0.1, antialias=True), {}, ("spread", None, 0.1, True, 5)),
        (TrainedClips(True, None, None, antialias=True), {}, ("interleaved", None, None, True, 2)),
        (
            TrainedClips(True, None, None, antialias=True),
            {"num_clips": 3},
            ("interleaved", None, None, True, 3),
        ),
        (TrainedClips(False, 2, None, antialias=False), {"stride": 3}, ("spread", 3, None, True, 5)),
        (TrainedClips(False, 2, None, antialias=False), {"windows": "spread"}, ("spread", 4, None, True, 5)),
        (None, {}, ("spread", 4, None, True, 5)),
    ],
)
def test_clips__are_those_of_the_training_where_the_card_says_so(
    trained: TrainedClips | None,
    asked: dict[str, Any],
    views: tuple[object, ...],
    weights: Path,
    tmp_path: Path,
) -> None:
    folder = Path(shutil.copytree(weights, tmp_path / "weights"))
    facts = WeightsFacts(1, 1, None, Videos("split/train", "abc", 1), clips=trained)
    (folder / "README.md").write_text(
        new_card("t", rows={}, settings="", name="n", started_from=None, facts=facts)
    )
    found = VideoPredictor.from_pretrained(folder, device="cpu", num_workers=0, **asked).views
    assert (
        found.windows, found.stride, found.frame_interval_sec, found.antialias, found.num_clips
    ) == views  # fmt: skip


def test_mixed_precision__is_near_and_not_the_same(weights: Path, files: list[Path]) -> None:
    exact, mixed = (
        next(iter(predictor_of(weights, precision=precision).predict(files[:1])))
        for precision in ("fp32", "bf16")
    )
    assert probabilities(mixed) != probabilities(exact)
    assert probabilities(mixed) == pytest.approx(probabilities(exact), abs=0.01)


@pytest.mark.parametrize("workers", [0, 2])
def test_order__is_kept_and_unreadable_files_are_rows(
    weights: Path, files: list[Path], tmp_path: Path, workers: int
) -> None:
    broken, absent = tmp_path / "broken.mp4", tmp_path / "absent.mp4"
    broken.write_bytes(b"rubbish")
    paths = [files[2], broken, files[0], absent, files[1]]
    predictions = list(predictor_of(weights, num_workers=workers, batch_videos=2, top_k=2).predict(paths))
    assert [prediction.path for prediction in predictions] == paths
    causes = [prediction.fault and prediction.fault.cause for prediction in predictions]
    assert causes == [None, "undecodable", None, "missing", None]
    assert [len(prediction.classes) for prediction in predictions] == [2, 0, 2, 0, 2]
    alone = [next(predictor_of(weights, top_k=2).predict([path])) for path in paths]
    for one, other in zip(predictions, alone, strict=True):
        assert probabilities(one) == pytest.approx(probabilities(other), abs=1e-6)


def test_unknown_rate__is_one_file_s_fault_where_clips_are_in_seconds(
    weights: Path, files: list[Path], tmp_path: Path
) -> None:
    rateless = tmp_path / "one frame.ts"
    with av.open(rateless, "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.height = stream.width = 32
        stream.pix_fmt = "yuv420p"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        output.mux(stream.encode())
    in_frames = predictor_of(weights)
    in_seconds = VideoPredictor(
        in_frames.model,
        replace(in_frames.views, stride=None, frame_interval_sec=0.125),
        device="cpu",
        num_workers=0,
    )
    fault, readable = (each.fault for each in in_seconds.predict([rateless, files[0]]))
    assert fault is not None
    assert "unknown rate" in fault.detail
    assert readable is None
    assert next(in_frames.predict([rateless])).fault is None


def test_decoder__that_crashes_costs_one_row(
    weights: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker dies; the other files are predicted all the same, each once."""
    decode = Video.decode

    def decode_or_die(self: Video, indices: np.ndarray) -> np.ndarray:
        if self.where in (str(files[1]), str(files[4])):
            os.kill(os.getpid(), signal.SIGSEGV)
        return decode(self, indices)

    monkeypatch.setattr(
        _MultiProcessingDataLoaderIter._try_get_data,  # pyright: ignore[reportPrivateUsage]
        "__defaults__",
        (0.3,),
    )
    monkeypatch.setattr(Video, "decode", decode_or_die)
    predictions = list(predictor_of(weights, num_workers=2).predict(files[:6]))
    assert [prediction.path for prediction in predictions] == files[:6]
    causes = [prediction.fault and prediction.fault.cause for prediction in predictions]
    assert causes == [None, "crashed", None, None, "crashed", None]


def test_results__come_before_later_files_are_read(weights: Path, files: list[Path], tmp_path: Path) -> None:
    late = tmp_path / "late.mp4"
    stream = predictor_of(weights).predict([files[0], late])
    assert next(stream).path == files[0]
    late.write_bytes(files[1].read_bytes())
    assert next(stream).fault is None


def test_requests__that_make_no_sense(weights: Path, files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="each file once"):
        predictor_of(weights).predict([files[0], files[0]])
    for wrong in ({"top_k": 0}, {"batch_videos": 0}, {"num_clips": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            predictor_of(weights, **wrong)
    headless = VideoMAEForVideoClassification(
        replace(load_classifier(weights).config, num_labels=0, id2label={})
    )
    with pytest.raises(ConfigError, match="without classes"):
        VideoPredictor(headless, device="cpu")
    with pytest.raises(ConfigError, match="square"):
        published_views(VideoMAEConfig(image_size=(32, 16), patch_size=8))
    with pytest.raises(ConfigError, match="stride"):
        predictor_of(weights, windows="interleaved", stride=4)
    with pytest.raises(CheckpointError):
        predictor_of(tmp_path / "nothing")
