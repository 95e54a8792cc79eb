from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_clips import encode, moving_frames
from small_options import evaluation_options, finetune_options, pretrain_options

from videomae_train.data import views as views_module
from videomae_train.data.erasing import sample_erase_box
from videomae_train.data.randaugment import rand_augment
from videomae_train.data.sampling import sample_dense_window, sample_uniform_window, sample_window
from videomae_train.data.transforms import as_clip, crop_and_resize, flip_clip, sample_crop
from videomae_train.data.views import (
    SampleKey,
    Video,
    evaluation_views,
    evaluation_windows,
    finetune_views,
    pretrain_views,
)
from videomae_train.randomness import keyed_rng

KEY = SampleKey(seed=0, epoch=0, dataset="set", sample_id=3)
PATH = Path("somewhere")


@pytest.fixture(scope="module")
def video() -> Video:
    return Video(encode(moving_frames(48), options={"g": "8"}), 48, 25.0, "a video")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Which frames each call of the decoder was asked for."""
    asked: list[list[int]] = []
    decode = views_module.decode_frames

    def record(content: bytes, indices: np.ndarray, **where: object) -> np.ndarray:
        asked.append(indices.tolist())
        return decode(content, indices, **where)

    monkeypatch.setattr(views_module, "decode_frames", record)
    return asked


def test_pretrain__views_share_one_window_without_jitter(video: Video, decoded: list[list[int]]) -> None:
    pretrain_views(video, pretrain_options(PATH, views=3), KEY, 2)
    assert decoded == [sample_window(48, 4, 2, KEY.rng(0, "window")).tolist()]


def test_pretrain__jitter_moves_each_view_inside_one_decode(video: Video, decoded: list[list[int]]) -> None:
    jitter, seen = 5, set[int]()
    options = pretrain_options(PATH, views=4, view_jitter_frames=jitter, crop="centre", size=48)
    for sample_id in range(30):
        key = KEY._replace(sample_id=sample_id)
        views = pretrain_views(video, options, key, 2).clips
        first = sample_window(48 - jitter, 4, 2, key.rng(0, "window"))
        starts = [int(key.rng(view, "jitter").integers(jitter + 1)) for view in range(4)]
        assert decoded[-1] == sorted({frame for start in starts for frame in (first + start).tolist()})
        for start, view in zip(starts, views, strict=True):
            centre = video.decode(first + start)[:, :, 8:56]
            assert torch.equal(view, torch.from_numpy(centre))
        seen.update(starts)
    assert len(decoded) == 30 + 4 * 30, "one call for all views, and ours"
    assert seen == set(range(jitter + 1))


def test_jitter__shrinks_where_the_video_has_no_room(decoded: list[list[int]]) -> None:
    for num_frames in (5, 8, 9):
        short = Video(encode(moving_frames(num_frames)), num_frames, 25.0, "short")
        views = pretrain_views(short, pretrain_options(PATH, views=3, view_jitter_frames=5), KEY, 2)
        assert views.clips.shape == (3, 4, 32, 32, 3)
        finetune_views(short, finetune_options(PATH, view_jitter_frames=5), KEY)
        assert max(decoded[-1]) < num_frames


@pytest.mark.parametrize("windows", ["dense", "strided", "uniform", "uniform_v1"])
def test_finetune__windows(windows: str, video: Video, decoded: list[list[int]]) -> None:
    stride = None if windows.startswith("uniform") else 3
    finetune_views(video, finetune_options(PATH, windows=windows, stride=stride), KEY)
    rng = KEY.rng(0, "window")
    if windows == "dense":
        expected = sample_dense_window(48, 4, 3, rng)
    elif windows == "strided":
        expected = sample_window(48, 4, 3, rng)
    else:
        expected = sample_uniform_window(48, 4, rng, short_videos="all_frames")
    assert decoded == [expected.tolist()]


@pytest.mark.parametrize(("windows", "expected"), [("uniform", [0, 0, 1, 2]), ("uniform_v1", [0, 0, 0, 0])])
def test_finetune__uniform_windows_of_short_videos(
    windows: str, expected: list[int], decoded: list[list[int]]
) -> None:
    short = Video(encode(moving_frames(3)), 3, 25.0, "short")
    finetune_views(short, finetune_options(PATH, windows=windows, stride=None), KEY)
    assert decoded == [expected]


def test_seconds__are_frames_of_each_videos_own_rate(decoded: list[list[int]]) -> None:
    content = encode(moving_frames(60), options={"g": "8"})
    for fps, stride in ((25.0, 4.0), (50.0, 8.0), (30.0, 4.8)):
        video, in_seconds = Video(content, 60, fps, "x"), {"stride": None, "frame_interval_sec": 0.16}
        pretrain_views(video, pretrain_options(PATH, **in_seconds), KEY, None)
        assert decoded[-1] == sample_window(60, 4, stride, KEY.rng(0, "window")).tolist()
        finetune_views(video, finetune_options(PATH, **in_seconds), KEY)
        assert decoded[-1] == sample_dense_window(60, 4, stride, KEY.rng(0, "window")).tolist()


def test_evaluation__windows_of_each_kind() -> None:
    def windows_of(**changes: object) -> list[list[int]]:
        options = evaluation_options(PATH, num_frames=16, num_crops=1, **changes)
        return evaluation_windows(Video(b"", 300, 25.0, "x"), options).tolist()

    assert windows_of(stride=4, num_clips=5)[1][0] == 56
    assert windows_of(stride=None, frame_interval_sec=0.16, num_clips=5) == windows_of(stride=4, num_clips=5)
    assert windows_of(windows="interleaved", stride=None)[1][:3] == [9, 28, 46]
    assert windows_of(windows="middle_dense", stride=4, num_clips=1)[0][:5] == [118, 122, 126, 130, 135]
    assert windows_of(windows="middle_strided", stride=4, num_clips=1)[0] == list(range(118, 182, 4))
    assert windows_of(windows="middle_uniform", stride=None, num_clips=1)[0][:2] == [9, 27]


def test_evaluation__interleaved_clips_and_crops(video: Video) -> None:
    options = evaluation_options(PATH, windows="interleaved", stride=None)
    views = evaluation_views(video, options)
    assert views.shape == (6, 4, 32, 32, 3)
    assert not torch.equal(views[0], views[3])
    plain = evaluation_views(video, evaluation_options(PATH, antialias=False))
    assert not torch.equal(plain, evaluation_views(video, evaluation_options(PATH)))


def test_finetune__is_each_step_in_the_published_order(video: Video) -> None:
    spelling = "rand-m7-n4-mstd0.5-inc1"
    options = finetune_options(
        PATH, views=6, erase_probability=0.5, crop_resampling="float_no_antialias", randaugment=spelling
    )
    views = finetune_views(video, options, KEY)
    assert views.clips.dtype == torch.float32
    assert views.erase_boxes is not None
    assert views.erase_boxes.tolist() == [
        list(sample_erase_box(32, 32, 0.5, KEY.rng(view, "erase"))) for view in range(6)
    ]
    clip = as_clip(video.decode(sample_dense_window(48, 4, 2, KEY.rng(0, "window"))))
    for view, ours in enumerate(views.clips):
        augmented = rand_augment(clip, spelling, *KEY, view, "randaugment")
        box = sample_crop("random_resized", 48, 64, 32, KEY.rng(view, "crop"))
        cut = crop_and_resize(augmented, box, 32, "float_no_antialias")
        expected = flip_clip(cut) if KEY.rng(view, "flip").random() < 0.5 else cut
        assert torch.equal(ours, expected.permute(0, 2, 3, 1))


def test_device__gets_shared_frames_once_and_its_own_otherwise(video: Video) -> None:
    shared = pretrain_views(video, pretrain_options(PATH, crop_on="device"), KEY, 2)
    assert shared.clips.shape == (1, 4, 48, 64, 3)
    assert shared.crops is not None
    assert (shared.crops.boxes.shape, shared.crops.flips.shape) == ((2, 4), (2,))
    for changes in ({"view_jitter_frames": 3, "randaugment": None}, {}):
        own = finetune_views(video, finetune_options(PATH, crop_on="device", **changes), KEY)
        assert own.clips.shape == (2, 4, 48, 64, 3)
    same = finetune_views(video, finetune_options(PATH, crop_on="device", randaugment=None), KEY)
    assert same.clips.shape == (1, 4, 48, 64, 3)


def test_sample_key__another_purpose_view_or_epoch_is_another_choice() -> None:
    changed = [{}, {"seed": 1}, {"epoch": 1}, {"dataset": "other"}, {"sample_id": 1}]
    draws = [KEY._replace(**change).rng(0, "crop").integers(2**63) for change in changed]
    draws += [KEY.rng(1, "crop").integers(2**63), KEY.rng(0, "mask").integers(2**63)]
    assert len(set(draws)) == len(changed) + 2
    assert draws[0] == keyed_rng(*KEY, 0, "crop").integers(2**63), "pinned in test_randomness.py"
