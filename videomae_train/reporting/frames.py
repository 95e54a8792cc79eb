"""Single frames of scored videos, to look at what a classifier gets wrong."""

from __future__ import annotations

from videomae_train.data.decoding import decode_frames
from videomae_train.data.index import PackedDataset
from videomae_train.errors import VideoMAETrainError
from videomae_train.pictures import webp_bytes
from videomae_train.reporting.facts import VideoPredictions

_WIDTH = 240  # pixels; twice what the page shows


class MiddleFrames:
    """Gives the middle frame of scored videos.

    Attributes:
        problem: Why there are none, in words; empty where there are.

    Args:
        data: The packed set, a folder or an address; None where it is not known.
        predictions: Of the videos; the set is believed only where it still has each of them under its key.
        may_fetch: Whether a set at an address is opened too; the network may be slow, or not there.
    """

    def __init__(self, data: str | None, predictions: VideoPredictions, *, may_fetch: bool) -> None:
        self._predictions = predictions
        self._dataset: PackedDataset | None = None
        self.problem = ""
        if data is None:
            self.problem = "the score does not say which set it is of (--data FOLDER does)"
            return
        if "://" in data and not may_fetch:
            self.problem = f"the set is at {data} (--data {data} fetches them)"
            return
        try:
            dataset = PackedDataset.open(data)
        except VideoMAETrainError as error:
            self.problem = (
                f"the set at {data} cannot be opened ({error.came}); --data FOLDER says where it is now"
            )
            return
        if not _holds(dataset, predictions):
            self.problem = f"the set at {data} is not the one that was scored: its videos have other keys"
            return
        self._dataset = dataset

    def of(self, place: int) -> bytes | None:
        """Give the middle frame of a video as WebP, by its place in the predictions; None where it cannot be read."""
        if self._dataset is None:
            return None
        row = int(self._predictions.sample_ids[place])
        num_frames = int(self._dataset.num_frames[row])
        try:
            content = self._dataset.read_bytes(row)
            frames = decode_frames(
                content, [num_frames // 2], where=self._dataset.where(row), num_frames=num_frames
            )
        except VideoMAETrainError:  # broken since it was scored; the page shows its key without a picture
            return None
        return webp_bytes(frames[0], _WIDTH)


def _holds(dataset: PackedDataset, predictions: VideoPredictions) -> bool:
    rows = predictions.sample_ids.tolist()
    return all(
        0 <= row < dataset.num_videos and dataset.key(row) == key
        for row, key in zip(rows, predictions.keys, strict=True)
    )
