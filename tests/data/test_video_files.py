from __future__ import annotations

from pathlib import Path

import pytest
import torch

from videomae_train.data import video_files
from videomae_train.data.options import ViewOptions
from videomae_train.data.video_files import VideoFileDataset

OPTIONS = ViewOptions(
    num_frames=4, windows="spread", stride=2, frame_interval_sec=None, size=16, num_clips=2, num_crops=1,
    antialias=True,
)  # fmt: skip


def test_frames__that_were_promised_and_do_not_come_are_not_counted(
    clip: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "clip.mp4"
    file.write_bytes(clip)
    expected = VideoFileDataset([file], OPTIONS)[0]
    monkeypatch.setattr(video_files, "count_frames", lambda *_, **__: 40)
    item = VideoFileDataset([file], OPTIONS)[0]
    assert item.num_frames == expected.num_frames == 30
    assert torch.equal(item.clips, expected.clips)
