import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from videomae_train.benchmarks.predict import AGREEMENT, compare_use
from videomae_train.cli import videomae
from videomae_train.errors import ConfigError, TrainingError
from videomae_train.model import VideoMAEConfig, VideoMAEForVideoClassification

CONFIG = VideoMAEConfig(
    image_size=32, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=48, head_init_scale=20.0, id2label={0: "left", 1: "right", 2: "stand"},
)  # fmt: skip


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    VideoMAEForVideoClassification(CONFIG).save_pretrained(tmp_path / "weights")
    return tmp_path / "weights"


def test_command__prints_every_row_and_writes_all_of_it(
    weights: Path, motion_videos: Path, tmp_path: Path
) -> None:
    pytest.importorskip("transformers")
    figures = tmp_path / "use.json"
    videos = sorted((motion_videos.parent / "videos").rglob("*.mp4"))[:3]
    arguments = ["bench", "predict", str(weights), *map(str, videos), "--rounds", "2", "--json", str(figures)]
    result = CliRunner().invoke(videomae, arguments)
    assert result.exit_code == 0, result.output
    written = json.loads(figures.read_text())
    assert (written["num_videos"], written["rounds"]) == (3, 2)
    assert all(0 < difference < AGREEMENT for difference in written["differences"].values())
    names = ["ours predict", "transformers predict", "ours features", "transformers features"]
    assert [row["name"] for row in written["rows"]] == names
    for row in written["rows"]:
        assert (
            row["videos_per_sec"]["low"] <= row["videos_per_sec"]["median"] <= row["videos_per_sec"]["high"]
        )
        assert set(row["stage_ms"]) == ({"decode", "resize", "model"} if "predict" in row["name"] else set())
        assert (row["times"]["median"] == 1.0) == row["name"].startswith("transformers")


def test_compare__refuses_other_numbers_before_any_timing() -> None:
    calls: list[str] = []

    def work(name: str, value: float):
        def run(files: Sequence[Path]) -> np.ndarray:
            calls.append(name)
            return np.full((len(files), 2), value)

        return run

    with pytest.raises(TrainingError, match="apart"):
        compare_use(
            {"predict": (work("ours", 0.5), work("theirs", 0.502))}, {}, [Path("a")], rounds=3, num_workers=1
        )
    assert calls == ["ours", "theirs"]


def test_command__refuses_a_video_that_the_pipeline_cannot_take(weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from videomae_train.data.synthetic import generate_motion_videos

    (video,) = generate_motion_videos(
        tmp_path / "short", num_videos=1, seed=0, size=32, num_frames=3, classes=("move_left",)
    )
    result = CliRunner().invoke(videomae, ["bench", "predict", str(weights), str(video)])
    assert isinstance(result.exception, ConfigError)
    assert "3 frames" in str(result.exception)
