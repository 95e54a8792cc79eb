"""Small clips, encoded on the spot, and a packed set of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from small_clips import encode, moving_frames, write_tree

from videomae_train.data.index import PackedDataset
from videomae_train.data.pack_plan import PackOptions
from videomae_train.data.packing import pack
from videomae_train.data.sources import open_source


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in the loader's workers; several threads wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def clip() -> bytes:
    """An ordinary H.264 file of 30 frames with B-frames and a keyframe every 8."""
    return encode(moving_frames(30), options={"g": "8", "bf": "2", "sc_threshold": "0"})


@pytest.fixture(scope="session")
def class_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """22 videos in three classes of unequal size, all of different content."""
    files = {
        f"{name}/video {number}.mp4": encode(
            moving_frames(12 + number, 32, 40, seed=10 * label + number),
            options={"g": "6", "preset": "ultrafast"},
        )
        for label, (name, count) in enumerate({"jump": 10, "run": 7, "walk": 5}.items())
        for number in range(count)
    }
    return write_tree(tmp_path_factory.mktemp("videos"), files)


@pytest.fixture(scope="session")
def packed_folder(class_folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The class folders with a split, packed in shards of four."""
    listing = class_folders / "list.csv"
    rows = [
        f"{path.relative_to(class_folders)},{path.parent.name},{'test' if number % 4 == 0 else 'train'}"
        for number, path in enumerate(sorted(class_folders.rglob("*.mp4")))
    ]
    listing.write_text("\n".join(["path,label,split", *rows]) + "\n")
    destination = tmp_path_factory.mktemp("packed")
    pack(open_source(listing), destination, PackOptions(shard_max_videos=4), lambda _: None)
    return destination


@pytest.fixture
def packed(packed_folder: Path) -> PackedDataset:
    return PackedDataset.open(packed_folder)


@pytest.fixture
def break_videos(monkeypatch: pytest.MonkeyPatch) -> Callable[[set[int]], None]:
    """Make the shards give rubbish for some videos, as if the files had been broken before packing."""

    def break_them(sample_ids: set[int]) -> None:
        read = PackedDataset.read_bytes

        def read_bytes(self: PackedDataset, sample_id: int) -> bytes:
            return b"rubbish" if sample_id in sample_ids else read(self, sample_id)

        monkeypatch.setattr(PackedDataset, "read_bytes", read_bytes)

    return break_them
