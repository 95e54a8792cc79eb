from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_clips import encode, moving_frames

from videomae_train.data.decoding import probe_video
from videomae_train.data.encoding import Reencoding, reencode
from videomae_train.data.thumbnails import ThumbnailStack, find_lookalikes


def stack_of(video: bytes) -> ThumbnailStack:
    stack = ThumbnailStack()
    probe_video(video, where="here", on_frame=stack.add)
    return stack


def scene(seed: int, path: int, num_frames: int = 40) -> bytes:
    """A bright square that takes one of several paths before a background."""
    frames = moving_frames(num_frames, 96, 128, seed)
    frames[:] = frames[:1] // 2
    for number in range(num_frames):
        left, top = number * 2 + 10, 10 + (number if path == 0 else 60 - number)
        frames[number, top : top + 30, left : left + 30] = 250
    return encode(frames, options={"g": "10"})


def test_lookalikes__copies_are_found_and_other_motion_before_the_same_background_is_not() -> None:
    first, other, elsewhere = scene(1, 0), scene(1, 1), scene(5, 0)
    smaller = reencode(first, Reencoding(short_side=48), where="here")
    pictures = [stack_of(video).picked() for video in (first, other, elsewhere, smaller)]
    assert find_lookalikes(pictures) == [[0, 3]]


def test_lookalikes__equal_a_comparison_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    originals = rng.integers(60, 120, (60, 1280))
    noisy = [originals[number] + rng.integers(-8, 9, 1280) for number in range(0, 60, 3)]
    pictures = np.concatenate([originals, noisy]).astype(np.uint8)
    groups = find_lookalikes([one.tobytes() for one in pictures])
    assert groups == [[number, 60 + place] for place, number in enumerate(range(0, 60, 3))]


def test_lookalikes__one_cell_is_enough_to_tell_two_apart() -> None:
    first = np.full((5, 16, 16), 100, np.uint8)
    second = first.copy()
    second[3, 4, 5] += 11
    assert find_lookalikes([first.tobytes(), second.tobytes()]) == []
    second[3, 4, 5] -= 1
    assert find_lookalikes([first.tobytes(), second.tobytes()]) == [[0, 1]]
    assert find_lookalikes([]) == []


def test_lookalikes__many_equal_ones_are_one_group() -> None:
    black = np.zeros((5, 16, 16), np.uint8).tobytes()
    assert find_lookalikes([black] * 500) == [list(range(500))]


def test_thumbnails__do_not_depend_on_size_range_or_depth() -> None:
    video = scene(3, 0)
    expected = np.frombuffer(stack_of(video).picked(), np.uint8).astype(int)
    for name in ("yuvj420p", "yuv420p10le"):
        stack = ThumbnailStack()
        probe_video(
            video, where="here", on_frame=lambda frame, f=name, s=stack: s.add(frame.reformat(format=f))
        )
        assert np.abs(np.frombuffer(stack.picked(), np.uint8) - expected).max() <= 2, name


def test_still_ratio__counts_frames_that_repeat_the_one_before() -> None:
    frames = moving_frames(20, 96, 128)
    assert stack_of(encode(frames)).still_ratio() == 0.0
    assert stack_of(encode(np.repeat(frames[:1], 20, axis=0))).still_ratio() == 1.0
    assert stack_of(encode(frames[:1])).still_ratio() == 1.0
    faint = np.where(frames == 255, frames[:1] + np.uint8(12), frames[:1])
    assert stack_of(encode(faint, options={"crf": "4"})).still_ratio() < 0.2
    half = np.concatenate([frames[:10], np.repeat(frames[9:10], 10, axis=0)])
    assert stack_of(encode(half, options={"crf": "10"})).still_ratio() == pytest.approx(10 / 19)


CLIPS = Path(__file__).parents[2] / "../shared/data/ucf101_3cls"


@pytest.mark.slow
@pytest.mark.skipif(not CLIPS.is_dir(), reason="the real clips are not here")
def test_lookalikes__on_real_clips_of_few_cameras() -> None:
    """Every group is a clip and its re-encoded copy; clips that share actor, camera and place stay apart."""
    files = [*sorted(CLIPS.glob("videos_original/*/*")), *sorted(CLIPS.glob("videos_128/*/*"))]
    groups = find_lookalikes([stack_of(file.read_bytes()).picked() for file in files])
    assert all(len(group) == 2 and len({files[place].stem for place in group}) == 1 for group in groups)
    assert len(groups) >= 58, "of 63; the others lost a frame amid fast motion"
