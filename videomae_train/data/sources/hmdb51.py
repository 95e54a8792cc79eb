"""HMDB51: class folders with the official files of three splits, one for each class and split."""

from __future__ import annotations

import re
from pathlib import Path

from videomae_train.data.sources.official import note_unlisted, read_lines
from videomae_train.data.sources.videos import (
    SourceSet,
    SourceVideo,
    find_videos,
    sorted_by_name,
    unique_files,
)
from videomae_train.errors import ConfigError

_PARTS = {"0": "", "1": "train", "2": "test"}
_FILE_NAME = re.compile(r"(?P<name>.+)_test_split(?P<split>\d+)\.txt")


def is_hmdb51(splits: Path) -> bool:
    """Say whether a folder holds split files of HMDB51."""
    return any(_FILE_NAME.fullmatch(path.name) for path in splits.iterdir())


def read_hmdb51(folder: Path, splits: Path) -> SourceSet:
    """List class folders with the official split files of HMDB51.

    `<class>_test_split1.txt` names the class's .avi files with 1 (train), 2 (test) or 0 (not used in this split).
    A file of another extension but the same stem is taken for a listed one. Classes are numbered in the order of
    their names. A listed video without a file becomes a fault of packing.

    Raises:
        ConfigError: A folder is missing or no class, or a line is none of a split file.
    """
    paths, notes = find_videos(folder)
    # Archives of single classes unpack to <class>/<class>/<name>: the folder right above the file is the class.
    files = unique_files(paths, [f"{path.parent.name}/{path.stem}" for path in paths])
    listed = _read_split_files(splits)
    classes = tuple(sorted({key.split("/")[0] for key in listed}))
    _check_classes(files, classes, splits)
    videos = (
        SourceVideo(
            path=files.get(key, folder / f"{key}.avi"),
            name=files[key].relative_to(folder).as_posix() if key in files else f"{key}.avi",
            label=classes.index(key.split("/")[0]),
            splits=listed.get(key, {}),
        )
        for key in {**files, **listed}
    )
    notes += note_unlisted(files, listed)
    return SourceSet("hmdb51", sorted_by_name(videos), classes, tuple(notes))


def _check_classes(files: dict[str, Path], classes: tuple[str, ...], splits: Path) -> None:
    for key, path in files.items():
        if key.split("/")[0] not in classes:
            raise ConfigError(
                where=str(path),
                came=f"in the folder {path.parent.name}, of which {splits} has no split file",
                expected="videos in folders that are classes of the split files",
                todo="Take the folder away, or add its <class>_test_split1.txt.",
            )


def _read_split_files(splits: Path) -> dict[str, dict[str, str]]:
    """Read all files: class/stem -> {split: part}."""
    listed: dict[str, dict[str, str]] = {}
    for file in sorted(splits.iterdir()):
        named = _FILE_NAME.fullmatch(file.name)
        for line in read_lines(file) if named else []:
            name, _, number = line.strip().rpartition(" ")
            if not named or not name or number not in _PARTS:
                raise _wrong_line(file, line)
            parts = listed.setdefault(f"{named['name']}/{Path(name.strip()).stem}", {})
            if _PARTS[number]:
                parts[f"split{named['split']}"] = _PARTS[number]
    return listed


def _wrong_line(file: Path, line: str) -> ConfigError:
    return ConfigError(
        where=str(file),
        came=f"the line {line!r}",
        expected="a file name and 0, 1 or 2",
        todo="Unpack test_train_splits.rar again.",
    )
