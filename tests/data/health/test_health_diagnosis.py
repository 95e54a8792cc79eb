"""What is said about a set, and how badly."""

from __future__ import annotations

from dataclasses import replace

import pytest
from inspected_sets import findings_of, good_videos, set_of, severities, video

from videomae_train.data.health import ClipShape, Severity, diagnose, measure_set
from videomae_train.data.inspection import NOT_AS_PACKED, InspectedVideo

ERROR, WARNING, NOTE = Severity


def test_a_good_set__has_no_findings() -> None:
    assert severities(set_of(*good_videos())) == {}


def test_findings__come_in_order_of_severity() -> None:
    stills = (video(f"v{n}", 0, num_frames=1, rotation_deg=90) for n in range(3))
    found = diagnose(replace(set_of(*stills), notes=("1 file was left out",)), ClipShape())
    assert [finding.severity for finding in found] == [ERROR, WARNING, *[NOTE] * (len(found) - 2)]
    assert {"single-frames", "empty-classes", "no-split", "rotated", "listing"} <= {one.name for one in found}


@pytest.mark.parametrize(
    ("facts", "name", "clip"),
    [
        ({"num_frames": 63}, "short-videos", ClipShape()),
        ({"num_frames": 200}, "short-videos", ClipShape(num_frames=64)),
        ({"irregular_gap_ratio": 0.5}, "variable-rates", ClipShape()),
        ({"fps": 60.0}, "mixed-rates", ClipShape()),
        ({"height": 112}, "small-pictures", ClipShape()),
        ({"is_seekable": False}, "no-time-stamps", ClipShape()),
        ({"num_damaged_frames": 2}, "damaged-frames", ClipShape()),
    ],
)
def test_a_few_odd_videos__are_noted_and_many_are_a_warning(
    facts: dict[str, object], name: str, clip: ClipShape
) -> None:
    many = [video(f"odd{n}", n % 2, **facts) for n in range(20)]
    finding = findings_of(set_of(*good_videos(), *many), clip)[name]
    assert finding.severity == WARNING
    if clip == ClipShape():
        assert finding.videos == tuple(f"odd{n}" for n in range(20))
        few = severities(set_of(*good_videos(), *many[:2]))[name]
        assert few == (WARNING if name == "damaged-frames" else NOTE)


def test_a_video_just_long_and_large_enough__is_not_named() -> None:
    assert severities(set_of(*good_videos(), video("v", num_frames=64, height=224))) == {}


def test_still_videos__are_named() -> None:
    still = [replace(video(f"s{n}"), still_ratio=0.95) for n in range(3)]
    assert findings_of(set_of(*good_videos(10), *still))["still-videos"].videos == ("s0", "s1", "s2")


def test_sparse_keyframes__say_what_is_decoded_in_vain() -> None:
    videos = [video(f"v{n}", keyframe_interval=250, num_frames=300) for n in range(10)]
    text = findings_of(set_of(*videos))["keyframes"].text
    assert "66 %" in text, "125 frames before a window of 64"
    assert "keyframes" not in severities(set_of(*(replace_interval(one, 48) for one in videos)))


def replace_interval(one: InspectedVideo, interval: int) -> InspectedVideo:
    assert one.facts is not None
    return replace(one, facts=replace(one.facts, keyframe_interval=interval))


def test_large_pictures__are_a_warning() -> None:
    assert severities(set_of(*(video(f"v{n}", height=1080, width=1920) for n in range(3))))["large-pictures"]


def test_one_frame_each__cannot_be_trained_on() -> None:
    videos = [replace(video(f"v{n}", num_frames=1), still_ratio=1.0) for n in range(3)]
    assert severities(set_of(*videos))["single-frames"] == ERROR


def test_faults__of_files_are_left_out_but_in_a_packed_set_something_was_damaged() -> None:
    videos = [*good_videos(), video("broken", cause="truncated")]
    assert severities(set_of(*videos)) == {"faults": WARNING}
    assert severities(set_of(*videos, is_packed=True)) == {"faults": ERROR}
    videos[-1] = video("broken", cause=NOT_AS_PACKED)
    damaged = findings_of(set_of(*videos, is_packed=True))["damaged-set"]
    assert (damaged.severity, damaged.videos) == (ERROR, ("broken",))


def test_nothing_readable__cannot_be_trained_on() -> None:
    found = findings_of(
        set_of(video("a", cause="empty"), video("b", cause="truncated"), video("c", cause="empty"))
    )
    assert list(found) == ["no-readable-video"]
    assert "2 empty, 1 truncated" in found["no-readable-video"].text


def test_what_decoding_takes_care_of__is_noted() -> None:
    odd = [video("t", rotation_deg=90), video("d", pixel_format="yuv420p10le")]
    assert severities(set_of(*good_videos(), *odd)) == {"rotated": NOTE, "deep-colour": NOTE}


def test_statistics__count_what_can_be_read() -> None:
    videos = [
        video("a", 0, "train", num_frames=100, duration_sec=4.0),
        video("b", 1, "test", num_frames=300, duration_sec=12.0, codec="hevc", irregular_gap_ratio=0.1),
        video("c", 1, "test", cause="empty"),
    ]
    numbers = measure_set(set_of(*videos))
    assert (numbers.num_videos, numbers.num_faults, numbers.num_frames) == (3, 1, 400)
    assert numbers.frames is not None
    assert (numbers.frames.low, numbers.frames.median, numbers.frames.high) == (100, 200, 300)
    assert numbers.duration_sec == 16.0
    assert numbers.codecs == {"h264": 1, "hevc": 1}
    assert numbers.classes == {"run": 1, "walk": 1}
    assert numbers.parts == {"split1/test": 1, "split1/train": 1}
    assert numbers.causes == {"empty": 1}
    assert numbers.num_variable == 1
    assert measure_set(set_of()).frames is None
