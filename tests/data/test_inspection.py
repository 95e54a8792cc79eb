from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from bad_decoders import inspect_with_a_bad_decoder
from small_clips import write_tree

from videomae_train.data import inspection
from videomae_train.data.decoding import probe_video
from videomae_train.data.index import PackedDataset
from videomae_train.data.inspection import (
    NOT_AS_INDEXED,
    NOT_AS_PACKED,
    InspectedVideo,
    inspect_packed_video,
    inspect_source_video,
    inspected_packed,
    inspected_source,
)
from videomae_train.data.layout import content_checksum
from videomae_train.data.sources import SourceVideo, open_source
from videomae_train.pictures import write_png


def inspect_folder(folder: Path, timeout_sec: float = 60.0) -> dict[str, InspectedVideo]:
    with inspected_source(open_source(folder), decode=True, processes=2, timeout_sec=timeout_sec) as videos:
        return {video.name: video for video in videos}


def test_source__facts_and_faults(clip: bytes, tmp_path: Path) -> None:
    write_tree(tmp_path, {"run/a.mp4": clip, "run/empty.mp4": b"", "walk/b.mp4": b"rubbish"})
    videos = inspect_folder(tmp_path)
    assert {name: video.cause for name, video in videos.items()} == {
        "run/a.mp4": "",
        "run/empty.mp4": "empty",
        "walk/b.mp4": "undecodable",
    }
    good = videos["run/a.mp4"]
    assert good.facts == probe_video(clip, where="here")
    assert (good.label, good.num_bytes, good.checksum) == (0, len(clip), content_checksum(clip))
    assert len(good.thumbnails) == 5 * 16 * 16
    assert "walk/b.mp4" in videos["walk/b.mp4"].detail


def test_source__decoders_that_hang_or_crash_cost_one_video_each(
    clip: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "inspect_source_video", inspect_with_a_bad_decoder)
    write_tree(tmp_path, {f"run/{name}.mp4": clip for name in ("a", "crash", "hang", "z")})
    videos = inspect_folder(tmp_path, timeout_sec=4.0)
    assert [(video.cause, video.label) for video in videos.values()] == [
        ("", 0), ("undecodable", 0), ("timeout", 0), ("", 0)
    ]  # fmt: skip
    assert "SIGSEGV" in videos["run/crash.mp4"].detail


def test_source__a_folder_of_frames_is_a_video(tmp_path: Path) -> None:
    for number in range(5):
        write_png(tmp_path / "a" / f"{number}.png", np.full((32, 48, 3), 40 * number, np.uint8))
    video = inspect_source_video(SourceVideo(tmp_path / "a", "a", -1, frames_fps=10.0), decode=True)
    assert (video.num_frames, video.fps, video.height, video.width) == (5, 10.0, 32, 48)


def test_source__without_decoding_it_is_only_read(clip: bytes, tmp_path: Path) -> None:
    write_tree(tmp_path, {"run/a.mp4": clip, "run/b.mp4": b"rubbish"})
    with inspected_source(open_source(tmp_path), decode=False, processes=1, timeout_sec=60.0) as videos:
        assert [(video.cause, video.facts, bool(video.checksum)) for video in videos] == [
            ("", None, True)
        ] * 2


def test_packed__every_video_is_what_the_index_says(packed: PackedDataset) -> None:
    with inspected_packed(packed, decode=True, processes=1, timeout_sec=60.0) as found:
        videos = list(found)
    assert [video.name for video in videos] == [packed.key(row) for row in range(packed.num_videos)]
    assert not any(video.cause for video in videos)
    assert [video.label for video in videos] == packed.labels.tolist()
    assert [video.num_frames for video in videos] == packed.num_frames.tolist()
    test = [row for row, video in enumerate(videos) if video.splits == {"split": "test"}]
    assert test == packed.select("split/test").sample_ids.tolist()


@pytest.fixture
def copy_of_set(packed_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed_folder, tmp_path / "set"))


def test_packed__a_changed_byte_is_found_without_decoding(copy_of_set: Path) -> None:
    dataset = PackedDataset.open(copy_of_set)
    (row,) = dataset.table.slice(5, 1).to_pylist()
    with (copy_of_set / dataset.shard(5)).open("r+b") as file:
        file.seek(row["offset"] + row["size"] // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    causes = [inspect_packed_video(n, dataset=dataset, decode=False).cause for n in range(4, 7)]
    assert causes == ["", NOT_AS_PACKED, ""]


def test_packed__an_index_of_other_frames_is_found(copy_of_set: Path) -> None:
    dataset = PackedDataset.open(copy_of_set)
    table = dataset.table
    counts = table.column("num_frames").to_numpy().copy()
    counts[3] += 1
    place = table.schema.get_field_index("num_frames")
    changed = table.set_column(place, table.schema.field(place), pa.array(counts))
    with pa.OSFile(str(copy_of_set / "new"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(changed)
    (copy_of_set / "new").replace(copy_of_set / "index.arrow")
    description = json.loads((copy_of_set / "dataset.json").read_text())
    del description["index"]  # its checksum would show the change already
    (copy_of_set / "dataset.json").write_text(json.dumps(description))
    dataset = PackedDataset.open(copy_of_set)
    assert [inspect_packed_video(n, dataset=dataset, decode=True).cause for n in (2, 3)] == [
        "",
        NOT_AS_INDEXED,
    ]
    assert inspect_packed_video(3, dataset=dataset, decode=False).cause == ""
