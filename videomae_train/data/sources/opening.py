"""Finding out which layout a source has."""

from __future__ import annotations

from pathlib import Path

from videomae_train.data.sources.folders import (
    holds_frames,
    read_class_folders,
    read_frame_folders,
    read_unlabelled,
)
from videomae_train.data.sources.hmdb51 import is_hmdb51, read_hmdb51
from videomae_train.data.sources.kinetics import is_kinetics, read_kinetics
from videomae_train.data.sources.lists import part_lists, read_list, read_part_lists
from videomae_train.data.sources.something import find_json_lists, read_something_v2
from videomae_train.data.sources.ucf101 import read_ucf101
from videomae_train.data.sources.videos import SourceSet
from videomae_train.errors import ConfigError


def open_source(
    path: Path, *, splits: Path | None = None, unlabelled: bool = False, frames_fps: float | None = None
) -> SourceSet:
    """Find out which layout a source has and list its videos.

    Args:
        path: A folder, or a list of videos.
        splits: Folder of official lists (UCF101, HMDB51, Kinetics, Something-Something V2) or of lists named
            train, val and test.
        unlabelled: The names of folders are no classes.
        frames_fps: Rate of folders of extracted frames.

    Raises:
        ConfigError: There is nothing there, or no video in it, or the lists contradict it.
    """
    _check_request(path, splits, unlabelled)
    if splits is not None:
        return _open_with_lists(path, splits)
    if path.is_file():
        return read_list(path)
    if holds_frames(path):
        return read_frame_folders(path, frames_fps=frames_fps, unlabelled=unlabelled)
    return read_unlabelled(path) if unlabelled else read_class_folders(path)


def _check_request(path: Path, splits: Path | None, unlabelled: bool) -> None:
    if splits is not None and path.is_file():
        raise ConfigError(
            where=str(splits),
            came="split lists together with a list of videos",
            expected="split lists only with a folder of videos",
            todo="Give the folder, or put the parts into further columns of the list.",
        )
    if unlabelled and (splits is not None or path.is_file()):
        raise ConfigError(
            where="unlabelled",
            came="together with lists",
            expected="only with a folder",
            todo="Leave the labels out of the list, or leave the lists out.",
        )


def _open_with_lists(path: Path, splits: Path) -> SourceSet:
    if (splits / "classInd.txt").is_file():
        return read_ucf101(path, splits)
    if splits.is_dir() and is_hmdb51(splits):
        return read_hmdb51(path, splits)
    if splits.is_dir() and (json_lists := find_json_lists(splits)):
        return read_something_v2(path, json_lists)
    if splits.is_dir() and (lists := part_lists(splits)):
        kinetics = [file for file in lists if is_kinetics(file)]
        return read_kinetics(path, kinetics) if kinetics else read_part_lists(path, lists)
    raise ConfigError(
        where=str(splits),
        came="no lists of a known kind",
        expected="classInd.txt (UCF101), *_test_split1.txt (HMDB51), *-labels.json (Something-Something V2), or "
        "lists named train, val and test",
        todo="Give the folder of the official lists.",
    )
