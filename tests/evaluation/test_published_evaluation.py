"""The whole way from a video file to its score, beside a plain recount of the published one that ends in transformers.

The recount reads frames in their order, lists views as the publication does, resizes in float64 by the formula, and
shares no code with ours.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
import transformers

from videomae_train.data.datasets import EvaluationDataset
from videomae_train.data.encoding import Reencoding, encode_video
from videomae_train.data.index import PackedDataset
from videomae_train.data.loader import evaluation_loader
from videomae_train.data.options import EvaluationDataOptions, LoaderOptions
from videomae_train.data.pack_plan import PackOptions
from videomae_train.data.packing import pack
from videomae_train.data.sources import open_source
from videomae_train.evaluation.scoring import VideoScores, score_videos
from videomae_train.model import VideoMAEConfig, VideoMAEForVideoClassification, save_weights_folder

SIDE, LENGTH = 32, 16
# Frames, height and width: wide and resized, upright, long and short as they are, shorter than a clip.
SHAPES = {"wide": (90, 36, 60), "upright": (70, 48, 32), "long": (130, 32, 52), "short": (9, 32, 44)}
CONFIG = VideoMAEConfig(
    image_size=SIDE, patch_size=16, num_frames=LENGTH, hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=48, head_init_scale=50.0, drop_path_rate=0.2, layer_norm_eps=1e-12, fc_norm_eps=1e-5,
).with_labels(7)  # fmt: skip
LOADER = LoaderOptions(num_workers=0, prefetch_batches=2, pin_memory=False, decode_timeout_sec=60.0)


def published_dense_clips(num_frames: int, stride: int = 4, num_clips: int = 5) -> list[list[int]]:
    """Every `stride`-th frame, padded with the last to a clip; clips start evenly over that."""
    frames = list(range(0, num_frames, stride))
    while len(frames) < LENGTH:
        frames.append(frames[-1])
    step = max((len(frames) - LENGTH) / (num_clips - 1), 0)
    return [frames[int(clip * step) :][:LENGTH] for clip in range(num_clips)]


def published_interleaved_clips(num_frames: int) -> list[list[int]]:
    """Two frames from each sixteenth of the video, taken in turn by the two clips."""
    tick = num_frames / LENGTH
    both = sorted([int(tick * x) for x in range(LENGTH)] + [int(tick / 2 + tick * x) for x in range(LENGTH)])
    return [both[0::2], both[1::2]]


def bilinear(size: int, wanted: int) -> np.ndarray:
    """Weights (wanted, size) of a bilinear resize without antialias, by its formula: pixels are their centres."""
    weights = np.zeros((wanted, size))
    for place in range(wanted):
        centre = min(max((place + 0.5) * size / wanted - 0.5, 0), size - 1)
        first = min(int(centre), size - 2)
        weights[place, first : first + 2] = 1 - (centre - first), centre - first
    return weights


def published_views(video: bytes, clips: list[list[int]]) -> np.ndarray:
    """All views of a video, clip by clip with three crops each: uint8 (R, T, H, W, C)."""
    with av.open(io.BytesIO(video)) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    height, width = frames.shape[1:3]
    if min(height, width) != SIDE:
        height, width = (int(side * SIDE / min(frames.shape[1:3])) for side in frames.shape[1:3])
        rows, columns = bilinear(frames.shape[1], height), bilinear(frames.shape[2], width)
        frames = np.rint(np.einsum("hH,wW,tHWc->thwc", rows, columns, frames, optimize=True)).astype(np.uint8)
    views = []
    for clip in clips:
        for crop in range(3):
            start = int(crop * (max(height, width) - SIDE) / 2)
            picked = frames[clip]
            views.append(picked[:, start:][:, :SIDE] if height > width else picked[:, :, start:][:, :, :SIDE])
    return np.stack(views)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Noise that moves: any frame, pixel or crop beside the right one shows."""
    made = {}
    for number, (name, (length, height, width)) in enumerate(SHAPES.items()):
        rng = np.random.default_rng(number)
        coarse = rng.integers(0, 256, (length, height // 4, width // 4, 3), np.uint8)
        frames = (av.VideoFrame.from_ndarray(f.repeat(4, 0).repeat(4, 1), format="rgb24") for f in coarse)
        made[name] = encode_video(frames, Fraction(25), Reencoding(keyframe_interval=8))
    return made


@pytest.fixture(scope="module")
def packed(videos: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    folder = tmp_path_factory.mktemp("videos")
    for name, content in videos.items():
        (folder / name).mkdir()
        (folder / name / "video.mp4").write_bytes(content)
    pack(open_source(folder), folder / "set", PackOptions(seed=0), lambda progress: None)
    return PackedDataset.open(folder / "set")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory):
    """Our classifier, and transformers' one from its folder."""
    torch.manual_seed(0)
    ours = VideoMAEForVideoClassification(CONFIG)
    folder = tmp_path_factory.mktemp("weights") / "classifier"
    save_weights_folder(ours, folder, card="# test")
    return ours, transformers.VideoMAEForVideoClassification.from_pretrained(folder).eval()


def our_scores(
    packed: PackedDataset, model: VideoMAEForVideoClassification, **changes: object
) -> tuple[dict[str, torch.Tensor], dict[str, np.ndarray], VideoScores]:
    """Each video's clips and logits as `videomae evaluate` computes them, by the video's name, and the scores."""
    values: dict[str, object] = {
        "path": packed.folder, "selection": "all", "num_frames": LENGTH, "windows": "spread", "stride": 4,
        "frame_interval_sec": None, "size": SIDE, "num_clips": 5, "num_crops": 3, "antialias": False,
    }  # fmt: skip
    dataset = EvaluationDataset(
        packed.select("all"), EvaluationDataOptions(**{**values, **changes}), rank=0, world=1
    )
    clips, logits = [], []
    classify = model.classify

    def listen(given: torch.Tensor) -> torch.Tensor:
        clips.append(given)
        logits.append(classify(given))
        return logits[-1]

    model.classify = listen  # type: ignore[method-assign]
    try:
        scores = score_videos(model, evaluation_loader(dataset, LOADER, batch_videos=1), torch.device("cpu"))
    finally:
        del model.classify
    names = [packed.key(int(row)).split("__")[0] for row in scores.sample_ids]
    return dict(zip(names, clips, strict=True)), dict(zip(names, logits, strict=True)), scores


CASES = [
    pytest.param(published_dense_clips, {}, id="Kinetics, UCF101 and HMDB51, 5 x 3"),
    pytest.param(
        published_interleaved_clips,
        {"windows": "interleaved", "stride": None, "num_clips": 2},
        id="Something-Something, 2 x 3",
    ),
]


@pytest.mark.parametrize(("published", "changes"), CASES)
def test_views_logits_and_scores__are_the_published_ones(
    published: Callable[[int], list[list[int]]],
    changes: dict[str, object],
    packed: PackedDataset,
    videos: dict[str, bytes],
    pair: tuple[VideoMAEForVideoClassification, transformers.VideoMAEForVideoClassification],
) -> None:
    ours, theirs = pair
    clips, logits, scores = our_scores(packed, ours, **changes)
    assert clips.keys() == SHAPES.keys()
    mean, std = (
        torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    for row, name in enumerate(clips):
        views = torch.from_numpy(published_views(videos[name], published(SHAPES[name][0])))
        off = (clips[name].int() - views.permute(0, 1, 4, 2, 3).int()).abs()
        # Resizing bytes rounds twice, as cv2 does: a level beside the formula in some pixels.
        assert off.max() <= int(min(SHAPES[name][1:]) != SIDE), name
        assert off.float().mean() < 0.1
        with torch.no_grad():
            truth = theirs(((clips[name] / 255 - mean) / std).contiguous()).logits
        assert truth.std(0).mean() > 0.05, "the views differ"
        torch.testing.assert_close(logits[name], truth, rtol=1e-5, atol=1e-5)
        expected = truth.softmax(-1).mean(0)
        torch.testing.assert_close(
            torch.from_numpy(scores.probabilities[row]), expected, rtol=1e-5, atol=1e-6
        )


def test_dense_lists__of_the_publication() -> None:
    """The recount itself, at the places that are on record."""
    assert [(clip[0], clip[-1]) for clip in published_dense_clips(300)] == [
        (0, 60), (56, 116), (116, 176), (176, 236), (236, 296),
    ]  # fmt: skip
    assert [clip[:3] for clip in published_interleaved_clips(50)] == [[0, 3, 6], [1, 4, 7]]
