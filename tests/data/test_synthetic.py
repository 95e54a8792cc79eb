"""The made-up motions: real files, reproducible, and told apart by motion only."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from videomae_train.data.motions import MOTIONS, render_motion, sample_outline, sample_trajectories
from videomae_train.data.synthetic import generate_motion_videos
from videomae_train.errors import ConfigError
from videomae_train.randomness import keyed_rng

STEADY = [name for name, motion in MOTIONS.items() if not motion.swings]


def decode(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_files__are_h264_that_decode_to_what_was_drawn(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    paths = generate_motion_videos(
        tmp_path / "set", num_videos=11, seed=3, num_frames=10, on_progress=lambda *done: seen.append(done)
    )
    assert seen[-1] == (11, 11)
    assert [path.parent.name for path in paths] == [*MOTIONS, next(iter(MOTIONS))]
    for number in (0, 6):
        with av.open(str(paths[number])) as container:
            stream = container.streams.video[0]
            assert (stream.codec.name, stream.pix_fmt) == ("h264", "yuv420p")
            assert stream.average_rate == 16
        drawn = render_motion(paths[number].parent.name, seed=3, number=number, num_frames=10)
        decoded = decode(paths[number])
        assert decoded.shape == drawn.shape == (10, 64, 64, 3)
        assert np.abs(decoded.astype(int) - drawn).mean() < 6  # half the colour resolution, and compression


def test_files__are_a_function_of_seed_and_number(tmp_path: Path) -> None:
    def contents(name: str, seed: int, num_videos: int) -> list[bytes]:
        folder, classes = tmp_path / name, ["zoom_in", "move_up"]
        made = generate_motion_videos(
            folder, num_videos=num_videos, seed=seed, size=32, num_frames=4, classes=classes
        )
        return [path.read_bytes() for path in made]

    first = contents("a", 0, 4)
    assert contents("b", 0, 6)[:4] == first
    assert not set(contents("c", 1, 4)) & set(first)
    assert len(set(first)) == 4


def test_files__are_the_same_on_every_processor(tmp_path: Path) -> None:
    """Else a study could not be gone on with elsewhere: its videos would be others, by a pixel here and there."""
    code = """
import sys
from pathlib import Path
from videomae_train.data.synthetic import generate_motion_videos
generate_motion_videos(Path(sys.argv[1]), num_videos=20, seed=0)
"""
    found = np.show_config(mode="dicts")["SIMD Extensions"]["found"]
    if not found:
        pytest.skip("numpy has only one way to compute here")
    for name, without in (("all", ""), ("none", " ".join(found))):
        environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": without}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], env=environment, check=True)
    files = sorted(path.relative_to(tmp_path / "all") for path in (tmp_path / "all").rglob("*.mp4"))
    assert len(files) == 20
    for file in files:
        assert (tmp_path / "all" / file).read_bytes() == (tmp_path / "none" / file).read_bytes(), file


def test_frames__are_these() -> None:
    """Of one processor with AVX2, and so of every other; a change here makes every set of motions another one."""
    frames = [render_motion(name, seed=0, number=number) for number, name in enumerate(MOTIONS)]
    assert hashlib.sha256(np.stack(frames).tobytes()).hexdigest()[:16] == "08af43493d98df48"


def test_first_frame__is_the_same_for_every_steady_motion() -> None:
    first = [render_motion(name, seed=0, number=5, size=32, num_frames=2) for name in STEADY]
    assert all(np.array_equal(clip[0], first[0][0]) for clip in first)
    assert all(not np.array_equal(clip[1], clip[0]) for clip in first)


def test_opposite_motions__are_each_other_backwards() -> None:
    for forth, back in (("move_left", "move_right"), ("rotate_clockwise", "rotate_counterclockwise")):
        paths = [sample_trajectories(MOTIONS[name], 9, keyed_rng(0))[0] for name in (forth, back)]
        steps = [np.array([np.diff(path.x), np.diff(path.angle)]) for path in paths]
        wrapped = (steps[0] + steps[1] + 0.5) % 1 - 0.5
        np.testing.assert_allclose(wrapped, 0, atol=1e-6)


@pytest.mark.parametrize("name", MOTIONS)
def test_every_frame__has_uniform_places_angles_and_sizes(name: str) -> None:
    draws = [sample_trajectories(MOTIONS[name], 32, keyed_rng(number))[0] for number in range(1500)]
    for frame in (0, 13, 31):
        for values in (
            [path.x[frame] for path in draws],
            [path.y[frame] for path in draws],
            [path.angle[frame] / (2 * np.pi) for path in draws],
            [path.cycle[frame] for path in draws],
        ):
            ordered = np.sort(np.asarray(values) % 1)
            distance = np.abs(ordered - (np.arange(1500) + 0.5) / 1500).max()  # Kolmogorov-Smirnov
            assert distance < 2.0 / np.sqrt(1500)


def ridge_accuracy(features: np.ndarray, labels: np.ndarray) -> float:
    """Fit a linear read-out on the first two thirds, score it on the rest."""
    features = (features - features.mean(0)) / (features.std(0) + 1e-6)
    cut, targets = len(labels) * 2 // 3, np.eye(labels.max() + 1)[labels]
    gram = features[:cut].T @ features[:cut] + 30 * np.eye(features.shape[1])
    weights = np.linalg.solve(gram, features[:cut].T @ (targets[:cut] - targets[:cut].mean(0)))
    return float(((features[cut:] @ weights).argmax(1) == labels[cut:]).mean())


def test_motion_tells_the_class__a_frame_does_not() -> None:
    names = ["move_left", "move_right", "move_up", "move_down", "zoom_in", "zoom_out"]
    clips = [render_motion(names[n % 6], seed=0, number=n, size=32, num_frames=16)[13:] for n in range(600)]
    labels, pixels = np.arange(600) % 6, np.stack(clips).astype(np.float64).mean(-1) / 255
    last = pixels[:, 2]
    change, (down, right) = last - pixels[:, 0], np.gradient(last, axis=(1, 2))
    energy = (change**2).mean((1, 2))
    flow = np.stack([(change * right).mean((1, 2)) / energy, (change * down).mean((1, 2)) / energy], axis=1)
    frame = np.concatenate([last[:, ::4, ::4].reshape(600, -1), last.std((1, 2))[:, None]], axis=1)
    assert abs(ridge_accuracy(frame, labels) - 1 / 6) < 4 * np.sqrt(5 / 36 / 200)
    assert ridge_accuracy(flow, labels) > 0.5


def test_outlines__are_no_discs_and_do_not_repeat_within_72_degrees() -> None:
    for number in range(200):
        outline = sample_outline(keyed_rng(number))
        assert outline.max() == 1
        assert outline.min() > 0.05
        assert outline.std() > 0.05
        up_to_67_degrees = range(40, 190)
        assert min(np.abs(outline - np.roll(outline, shift)).max() for shift in up_to_67_degrees) > 0.03


@pytest.mark.parametrize(
    "wrong", [{"size": 63}, {"size": 8}, {"num_videos": 3}, {"num_frames": 1}, {"classes": ["fly"]}]
)
def test_wrong_requests__are_refused_before_writing(tmp_path: Path, wrong: dict[str, object]) -> None:
    request: dict[str, object] = {"num_videos": 10, "seed": 0, **wrong}
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        generate_motion_videos(tmp_path / "set", **request)  # type: ignore[arg-type]
    assert not (tmp_path / "set").exists()


def test_a_folder_with_content__is_never_written_into(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ConfigError, match="new or empty"):
        generate_motion_videos(tmp_path, num_videos=10, seed=0)
