"""A tiny classifier of the generated motions, and their files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from videomae_train.model import VideoMAEConfig, VideoMAEForVideoClassification

CONFIG = VideoMAEConfig(
    image_size=16, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=48, head_init_scale=100.0, drop_path_rate=0.2,
    id2label={0: "move_left", 1: "move, right", 2: "stand"},
)  # fmt: skip


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier") / "weights"
    torch.manual_seed(0)
    VideoMAEForVideoClassification(CONFIG).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def files(motion_videos: Path) -> list[Path]:
    return sorted((motion_videos.parent / "videos").rglob("*.mp4"))
