from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image
from small_clips import decode_all, moving_frames, write_tree

from videomae_train.data.encoding import Reencoding
from videomae_train.data.index import PackedDataset
from videomae_train.data.pack_plan import PackOptions
from videomae_train.data.packing import pack
from videomae_train.data.sources import open_source


def image(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, quality=95)
    return file.getvalue()


def frame_files(name: str, frames: np.ndarray, kind: str) -> dict[str, bytes]:
    return {f"{name}/frame{number}.{kind}": image(frame, kind) for number, frame in enumerate(frames)}


def test_pack__frames_become_videos_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    clips = {"run/a": ("png", moving_frames(12)), "walk/b": ("jpeg", moving_frames(11, 32, 40, seed=3))}
    files = {
        path: content
        for name, (kind, frames) in clips.items()
        for path, content in frame_files(name, frames, kind).items()
    }
    source = open_source(write_tree(tmp_path / "source", files), frames_fps=12.5)
    options = PackOptions(reencoding=Reencoding(crf=5, keyframe_interval=4))
    summary = pack(source, tmp_path / "packed", options, lambda _: None)
    assert (summary.num_videos, summary.num_frames, summary.faults) == (2, 23, ())
    dataset = PackedDataset.open(tmp_path / "packed")
    for row in range(2):
        _, frames = clips[dataset.key(row).replace("__", "/")]
        decoded = decode_all(dataset.read_bytes(row))
        assert decoded.shape == frames.shape
        assert np.abs(decoded.astype(float) - frames).mean() < 3, "frame 10 comes after frame 2"
    assert dataset.table.column("fps").to_pylist() == [12.5, 12.5]


def test_pack__frames_are_encoded_without_being_asked_and_it_is_recorded(tmp_path: Path) -> None:
    files = frame_files("run/a", moving_frames(3), "png")
    source = open_source(write_tree(tmp_path / "source", files), frames_fps=25)
    pack(source, tmp_path / "packed", PackOptions(), lambda _: None)
    packed = json.loads((tmp_path / "packed/dataset.json").read_text())["packed"]
    assert (packed["layout"], packed["reencoding"]["crf"]) == ("frames", 23)


def test_pack__broken_frames_are_faults(tmp_path: Path) -> None:
    good = frame_files("run/good", moving_frames(3), "png")
    files = {
        **good,
        "run/rubbish/1.png": b"rubbish",
        "run/empty/1.png": b"",
        "run/sizes/1.png": image(moving_frames(1)[0]),
        "run/sizes/2.png": image(moving_frames(1, 32, 40)[0]),
        "run/tiny/1.png": image(np.zeros((1, 1, 3), np.uint8)),
    }
    source = open_source(write_tree(tmp_path / "source", files), frames_fps=25)
    summary = pack(source, tmp_path / "packed", PackOptions(), lambda _: None)
    assert summary.num_videos == 1
    assert {fault.name: fault.cause for fault in summary.faults} == {
        "run/empty": "empty",
        "run/rubbish": "undecodable",
        "run/sizes": "undecodable",
        "run/tiny": "undecodable",
    }
    assert any("run/rubbish/1.png" in fault.detail for fault in summary.faults)
