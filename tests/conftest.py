import csv
import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from videomae_train.data.pack_plan import PackOptions
from videomae_train.data.packing import pack
from videomae_train.data.sources import open_source
from videomae_train.data.synthetic import generate_motion_videos

# Tests run on few cores beside other work: threads that wait for each other cost more than they bring. The variable
# is for the processes that tests start.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What is imported until all tests are collected stays: it is looked through for garbage neither now nor later, which
# takes a fifth of the time.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # else libraries print at the end what they think has leaked


# A first backward pass, before any test's library registers a device of its own (ONNX export does): from then on
# autograd would start threads for it, and no forked process of a later test could run backward.
torch.ones(1, requires_grad=True).sum().backward()


@pytest.fixture
def hearing_hangups() -> Iterator[None]:
    """Let SIGHUP do what it usually does, also where nohup started the tests; what a test starts inherits it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="session")
def motion_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV beside real mp4 files: 16 of two motions, every fourth of a class for the test (column `split`)."""
    folder = tmp_path_factory.mktemp("motions")
    classes = ("move_left", "move_right")
    videos = generate_motion_videos(
        folder / "videos", num_videos=16, seed=0, size=32, num_frames=16, classes=classes
    )
    table = folder / "videos.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for number, video in enumerate(videos):
            part = "test" if number // 2 % 4 == 3 else "train"
            writer.writerow([video.relative_to(folder).as_posix(), video.parent.name, part])
    return table


@pytest.fixture(scope="session")
def packed_motions(motion_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, packed: 12 training and 4 test videos in several shards."""
    folder = tmp_path_factory.mktemp("packed") / "set"
    pack(open_source(motion_videos), folder, PackOptions(seed=0, shard_max_videos=5), lambda progress: None)
    return folder
