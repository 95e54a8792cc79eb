"""Where videos and labels come from: class folders, a CSV, or the UCF101 layout.

Every source ends as the same `SourceSet`; packing knows nothing else. A new layout is one more function here.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from videomae_train.errors import ConfigError

_PLAIN_EXTENSIONS = ("3gp", "asf", "avi", "flv", "gif", "m4v", "mkv", "mov", "mp4", "ogv", "webm", "wmv")
_STREAM_EXTENSIONS = ("m2ts", "mpeg", "mpg", "mts", "ts", "vob")
VIDEO_EXTENSIONS = frozenset((*_PLAIN_EXTENSIONS, *_STREAM_EXTENSIONS))


@dataclass(frozen=True)
class SourceVideo:
    """One video of a source, which may turn out to be missing or broken.

    Attributes:
        path: The file.
        name: Its path inside the source, with "/" between parts; unique in the source.
        label: Class number, -1 if it has none.
        splits: For each split that uses the video, the part it belongs to: {"split1": "train"}.
    """

    path: Path
    name: str
    label: int
    splits: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class SourceSet:
    """Everything that packing needs to know about a source.

    Attributes:
        layout: What kind of source it was: "folders", "csv" or "ucf101".
        videos: Sorted by name.
        classes: Class names; a label is a number in this list.
        notes: What the reader should know: files left out, names matched by stem, and the like.
    """

    layout: str
    videos: tuple[SourceVideo, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def open_source(path: Path, *, splits: Path | None = None) -> SourceSet:
    """Find out which layout a path has and list its videos.

    Args:
        path: A folder of class folders, or a .csv file.
        splits: Folder of official UCF101 split lists; makes the folder a UCF101 one.

    Raises:
        ConfigError: There is nothing there, or no video in it, or the lists contradict it.
    """
    if path.is_file():
        if splits is not None:
            raise ConfigError(
                where=str(splits),
                came="split lists together with a CSV file",
                expected="split lists only with a folder of class folders",
                todo="Give the folder, or put the parts into further columns of the CSV.",
            )
        return read_csv(path)
    return read_ucf101(path, splits) if splits is not None else read_class_folders(path)


def read_class_folders(folder: Path) -> SourceSet:
    """List a folder whose subfolders are classes; classes are numbered in the order of their names.

    Raises:
        ConfigError: The folder is missing or holds no video.
    """
    paths, notes = _find_videos(folder)
    names = [path.relative_to(folder) for path in paths]
    classes = tuple(sorted({name.parts[0] for name in names if len(name.parts) > 1}))
    numbers = {name: number for number, name in enumerate(classes)}
    loose = sum(len(name.parts) == 1 for name in names)
    if loose:
        notes.append(f"{loose} videos lie outside a class folder and are unlabelled")
    videos = (
        SourceVideo(path, name.as_posix(), numbers.get(name.parts[0], -1) if len(name.parts) > 1 else -1)
        for path, name in zip(paths, names, strict=True)
    )
    return SourceSet("folders", _sorted(videos), classes, tuple(notes))


def read_csv(file: Path) -> SourceSet:
    """List the videos of a CSV with a header: `path,label` and any number of split columns.

    Paths are relative to the CSV's folder. Labels are class names, or class numbers if all of them are; an
    empty one means unlabelled. A further column is a split: its cells name parts such as train and test, an
    empty one means that the split does not use the video.

    Raises:
        ConfigError: A column or a value is missing, or a path is listed twice.
    """
    with file.open(newline="", encoding="utf-8-sig") as stream:
        lines = [line for line in csv.reader(stream) if line]
    columns = lines[0] if lines else []
    _check_columns(file, columns)
    _check_lines(file, columns, lines[1:])
    rows = [dict(zip(columns, line, strict=True)) for line in lines[1:]]
    labels = [row["label"].strip() for row in rows]
    classes = _class_names(labels)
    numbers = {name: number for number, name in enumerate(classes)}
    splits = [column for column in columns if column not in ("path", "label")]
    videos = (
        SourceVideo(
            path=file.parent / row["path"],
            name=row["path"],
            label=numbers.get(label, -1),
            splits={split: row[split].strip() for split in splits if row[split].strip()},
        )
        for row, label in zip(rows, labels, strict=True)
    )
    return SourceSet("csv", _sorted(videos), classes)


def _check_columns(file: Path, columns: list[str]) -> None:
    if not {"path", "label"} <= set(columns) or len(set(columns)) < len(columns):
        raise ConfigError(
            where=str(file),
            came=f"the columns {', '.join(columns) or '(none)'}",
            expected="a first line `path,label` (further columns are splits)",
            todo="Add the header line.",
        )


def _check_lines(file: Path, columns: list[str], lines: list[list[str]]) -> None:
    if not lines:
        raise _no_videos(str(file), "no line below the header")
    seen: set[str] = set()
    for line in lines:
        path = line[columns.index("path")] if len(line) == len(columns) else ""
        if not path or path in seen:
            raise ConfigError(
                where=str(file),
                came=f"the line {','.join(line)!r}" + " a second time" * bool(path),
                expected=f"each path once, and a value for each of {', '.join(columns)}",
                todo="Correct the line; quote values that hold a comma.",
            )
        seen.add(path)


def _class_names(labels: Iterable[str]) -> tuple[str, ...]:
    """Order class names; numbers keep their value, so that gaps become classes without videos."""
    distinct = {label for label in labels if label}
    if distinct and all(label.isascii() and label.isdecimal() for label in distinct):
        return tuple(str(number) for number in range(max(map(int, distinct)) + 1))
    return tuple(sorted(distinct))


def read_ucf101(folder: Path, splits: Path) -> SourceSet:
    """List class folders with the official split lists of UCF101.

    `trainlist01.txt` and `testlist01.txt` become the parts train and test of split1, and so on. The lists
    name .avi files; a file of another extension but the same stem is taken for it. Classes are numbered as
    `classInd.txt` says, from 0 instead of 1. A listed video without a file becomes a fault of packing.

    Raises:
        ConfigError: A folder or list is missing, or a class folder is not in `classInd.txt`.
    """
    paths, notes = _find_videos(folder)
    classes = _read_class_index(splits)
    parts = _read_split_lists(splits)
    files = _by_stem(folder, paths)
    listed = {stem: name for stem, (name, _) in parts.items()}
    renamed = [stem for stem in listed if stem in files and files[stem].suffix != Path(listed[stem]).suffix]
    if renamed:
        notes.append(f"{len(renamed)} videos were matched to the split lists by stem (other extension)")
    unlisted = [stem for stem in files if stem not in listed]
    if unlisted:
        notes.append(f"{len(unlisted)} videos are in no split list")
    names = {stem: path.relative_to(folder).as_posix() for stem, path in files.items()}
    videos = (
        SourceVideo(
            path=files.get(stem, folder / listed.get(stem, stem)),
            name=names.get(stem, listed.get(stem, stem)),
            label=_class_number(stem, classes, splits),
            splits=parts[stem][1] if stem in parts else {},
        )
        for stem in {**files, **listed}
    )
    return SourceSet("ucf101", _sorted(videos), classes, tuple(notes))


def _by_stem(folder: Path, paths: list[Path]) -> dict[str, Path]:
    files = {path.relative_to(folder).with_suffix("").as_posix(): path for path in paths}
    kept = set(files.values())
    doubled = [path for path in paths if path not in kept]
    if doubled:
        raise ConfigError(
            where=str(doubled[0]),
            came="a second file of the same stem",
            expected="one file for each name of the split lists",
            todo="Take one of the two away.",
        )
    return files


def _read_class_index(splits: Path) -> tuple[str, ...]:
    rows = [line.split() for line in _read_lines(splits / "classInd.txt")]
    return tuple(name for _, name in sorted((int(number), name) for number, name in rows))


def _read_split_lists(splits: Path) -> dict[str, tuple[str, dict[str, str]]]:
    """Read all lists: stem -> (listed name, {split: part})."""
    listed: dict[str, tuple[str, dict[str, str]]] = {}
    for part in ("train", "test"):
        for file in sorted(splits.glob(f"{part}list*.txt")):
            split = f"split{int(file.stem.removeprefix(f'{part}list'))}"
            for line in _read_lines(file):
                name = line.split()[0]
                listed.setdefault(Path(name).with_suffix("").as_posix(), (name, {}))[1][split] = part
    if not listed:
        raise ConfigError(
            where=str(splits),
            came="no trainlist0N.txt or testlist0N.txt",
            expected="the official split lists of UCF101",
            todo="Unpack UCF101TrainTestSplits-RecognitionTask.zip there.",
        )
    return listed


def _read_lines(file: Path) -> list[str]:
    if not file.is_file():
        raise ConfigError(
            where=str(file),
            came="no such file",
            expected="a list of the official UCF101 splits",
            todo="Give the folder that holds classInd.txt, trainlist01.txt, testlist01.txt ...",
        )
    return [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def _class_number(stem: str, classes: tuple[str, ...], splits: Path) -> int:
    name = stem.split("/")[0]
    if name not in classes:
        raise ConfigError(
            where=str(splits / "classInd.txt"),
            came=f"no class {name}, to which {stem} belongs",
            expected="every class folder in the list",
            todo="Take the folder away or use the class index that belongs to it.",
        )
    return classes.index(name)


def _find_videos(folder: Path) -> tuple[list[Path], list[str]]:
    """Find all files named as videos, and note how many others there are."""
    if not folder.is_dir():
        raise ConfigError(
            where=str(folder),
            came="no such folder",
            expected="a folder of class folders with videos, or a CSV file",
            todo="Check the path.",
        )
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    videos = [path for path in files if path.suffix.lower().removeprefix(".") in VIDEO_EXTENSIONS]
    if not videos:
        raise _no_videos(str(folder), f"{len(files)} files, none of them named as a video")
    others = len(files) - len(videos)
    return videos, [f"{others} files without a video extension were left out"] if others else []


def _no_videos(where: str, came: str) -> ConfigError:
    return ConfigError(
        where=where,
        came=came,
        expected="at least one video (" + " ".join(sorted(VIDEO_EXTENSIONS)) + ")",
        todo="Check the path.",
    )


def _sorted(videos: Iterable[SourceVideo]) -> tuple[SourceVideo, ...]:
    return tuple(sorted(videos, key=lambda video: video.name))
