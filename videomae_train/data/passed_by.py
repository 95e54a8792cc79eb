"""Videos that ended a run by hanging or crashing its decoder; the run passes them by when it is resumed."""

from __future__ import annotations

import json
from pathlib import Path

from videomae_train.data.index import Selection
from videomae_train.data.layout import write_json
from videomae_train.errors import ConfigError
from videomae_train.types import Fault


class PassedBy:
    """The list of them: a folder with one small JSON file a video, so that ranks do not write over each other.

    Args:
        folder: The folder; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, fault: Fault) -> None:
        """Put a video on the list; the file is written whole or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json(self._folder / f"{fault.sample_id}.json", fault._asdict())

    def read(self, selection: Selection) -> dict[int, Fault]:
        """Read the list: sample id -> how it became a fault.

        Raises:
            ConfigError: The list is of other data.
        """
        faults = [Fault(**json.loads(file.read_text())) for file in sorted(self._folder.glob("*.json"))]
        for fault in faults:
            self._check(fault, selection)
        return {fault.sample_id: fault for fault in faults}

    def _check(self, fault: Fault, selection: Selection) -> None:
        dataset = selection.dataset
        known = fault.sample_id < dataset.num_videos
        if not known or dataset.key(fault.sample_id) != fault.key:
            raise ConfigError(
                where=str(self._folder / f"{fault.sample_id}.json"),
                came=f"video {fault.key}",
                expected=f"{dataset.key(fault.sample_id)}"
                if known
                else f"one of {dataset.num_videos} videos",
                todo=f"Resume with the data of the run, or remove {self._folder}.",
            )
