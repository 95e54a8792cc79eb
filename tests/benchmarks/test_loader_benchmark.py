import itertools
import json
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from videomae_train.benchmarks.alternating import in_turn
from videomae_train.benchmarks.loader import share_of_waiting
from videomae_train.benchmarks.straightforward import ClipShape, load_clip
from videomae_train.cli import videomae
from videomae_train.data.synthetic import generate_motion_videos


def test_in_turn__every_contender_is_first_equally_often() -> None:
    order: list[tuple[int, str]] = []

    def contender(name: str):
        return lambda number: order.append((number, name)) or 1.0

    timings = in_turn({name: contender(name) for name in "abc"}, 6)
    assert [name for _, name in order[::3]] == list("abcabc")
    assert sorted(order) == sorted(itertools.product(range(6), "abc"))
    assert all(len(seconds) == 6 for seconds in timings.seconds.values())


def test_in_turn__a_ratio_is_taken_within_each_round() -> None:
    disturbed = [1.0, 10.0, 1.0]
    timings = in_turn({"slow": lambda n: 2 * disturbed[n], "fast": lambda n: disturbed[n]}, 3)
    ratio = timings.ratio("fast", "slow")
    assert (ratio.low, ratio.median, ratio.high) == (2.0, 2.0, 2.0)


def test_share_of_waiting__is_what_the_loader_lacks() -> None:
    def batches(seconds: float):
        while True:
            time.sleep(seconds)
            yield None

    fast, slow = (share_of_waiting(batches(sec), 4, step_sec=0.05 - sec) for sec in (0.0, 0.05))
    assert fast < slow


def test_load_clip__is_normalised_and_of_the_clip_s_shape(tmp_path: Path) -> None:
    generate_motion_videos(tmp_path, num_videos=10, seed=0, size=64, num_frames=32)
    file = next(tmp_path.rglob("*.mp4"))
    clip, seconds = load_clip(file, 32, ClipShape(8, 2, 32), seed=1)
    assert clip.shape == (8, 3, 32, 32)
    assert -2.2 < float(clip.min()) <= float(clip.max()) < 2.7
    assert seconds.total == pytest.approx(seconds.decode + seconds.transform)
    again, _ = load_clip(file, 32, ClipShape(8, 2, 32), seed=1)
    np.testing.assert_array_equal(clip.numpy(), again.numpy())


@pytest.mark.slow
def test_bench_loader__prints_every_way_and_writes_the_figures(tmp_path: Path) -> None:
    generate_motion_videos(tmp_path / "videos", num_videos=12, seed=0, size=64, num_frames=32)
    figures = tmp_path / "figures.json"
    arguments = ["bench", "loader", str(tmp_path / "videos"), "model=tiny", "data.stride=2", "--rounds", "2"]
    result = CliRunner().invoke(
        videomae, [*arguments, "--videos", "8", "--step-ms", "1", "--json", str(figures)]
    )
    assert result.exit_code == 0, result.output
    reports = {report["name"]: report for report in json.loads(figures.read_text())}
    assert list(reports) == [
        "straightforward", "bytes kept", "encoded anew", "intra", "intra, 4 views", "the same, uncropped",
    ]  # fmt: skip
    for report in reports.values():
        assert report["read_share"] + report["decode_share"] + report["transform_share"] == pytest.approx(1)
        assert report["views_per_sec"]["low"] <= report["views_per_sec"]["median"]
        assert report["name"] in result.output
    assert reports["straightforward"]["speedup"]["median"] == 1.0
