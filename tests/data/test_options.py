from __future__ import annotations

from pathlib import Path

import pytest
from small_options import evaluation_options, finetune_options, pretrain_options

from videomae_train.data.options import SetOptions
from videomae_train.errors import ConfigError

PATH = Path("somewhere")


@pytest.mark.parametrize("make", [pretrain_options, finetune_options, evaluation_options])
def test_pace__is_in_frames_or_in_seconds(make: type) -> None:
    assert make(PATH, stride=None, frame_interval_sec=0.16).frame_interval_sec == 0.16
    with pytest.raises(
        ConfigError, match=r"data\.stride: stride=2, frame_interval_sec=0\.16; expected either"
    ):
        make(PATH, frame_interval_sec=0.16)
    with pytest.raises(ConfigError, match=r"stride=null, frame_interval_sec=null; expected either"):
        make(PATH, stride=None)
    with pytest.raises(ConfigError, match=r"stride=0, .*; expected a number above 0"):
        make(PATH, stride=0)
    with pytest.raises(ConfigError, match=r"frame_interval_sec=-1; expected a number above 0"):
        make(PATH, stride=None, frame_interval_sec=-1)


def test_pace__is_refused_where_the_clip_spans_the_video() -> None:
    for windows in ("uniform", "uniform_v1"):
        assert finetune_options(PATH, windows=windows, stride=None).stride is None
        with pytest.raises(ConfigError, match=f"stride=2, .* with windows={windows}; expected null for both"):
            finetune_options(PATH, windows=windows)
    with pytest.raises(ConfigError, match="windows=interleaved; expected null for both"):
        evaluation_options(PATH, windows="interleaved", stride=None, frame_interval_sec=1.0)


@pytest.mark.parametrize("windows", ["middle_dense", "middle_strided", "middle_uniform"])
def test_middle_windows__are_one_clip(windows: str) -> None:
    stride = None if windows == "middle_uniform" else 2
    with pytest.raises(ConfigError, match=f"num_clips: 2 clips with windows={windows}"):
        evaluation_options(PATH, windows=windows, stride=stride)
    assert evaluation_options(PATH, windows=windows, stride=stride, num_clips=1).num_clips == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"randaugment": "rand-m7-x4"}, r"data\.randaugment: 'rand-m7-x4'; expected timm's notation"),
        ({"erase_probability": 1.5}, r"data\.erase_probability: 1\.5; expected a share"),
        ({"view_jitter_frames": -1}, r"data\.view_jitter_frames: -1"),
        ({"view_jitter_frames": 2, "windows": "uniform", "stride": None}, "2 with windows=uniform"),
    ],
)
def test_finetune__refuses(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        finetune_options(PATH, **changes)


def test_pretrain__sets_have_paces_of_their_own_or_one_in_seconds() -> None:
    of_one: dict[str, object] = {"selection": None, "stride": None}
    strided, paced = SetOptions(PATH, "all", 2), SetOptions(PATH, "all", None)
    assert pretrain_options(None, **of_one, sets={"a": strided}).members["a"].stride == 2
    assert pretrain_options(None, **of_one, sets={"a": paced}, frame_interval_sec=0.16).members["a"] == paced
    with pytest.raises(ConfigError, match=r"data\.sets\.b\.stride: stride=2, frame_interval_sec=0\.16"):
        pretrain_options(None, **of_one, sets={"a": paced, "b": strided}, frame_interval_sec=0.16)
    with pytest.raises(ConfigError, match=r"data\.sets\.a\.stride: stride=null, frame_interval_sec=null"):
        pretrain_options(None, **of_one, sets={"a": paced})
