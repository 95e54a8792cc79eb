"""UCF101: class folders with the official train and test lists of three splits."""

from __future__ import annotations

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


def read_ucf101(folder: Path, splits: Path) -> SourceSet:
    """List class folders with the official split lists of UCF101.

    `trainlist01.txt` and `testlist01.txt` become the parts train and test of split1, and so on. The lists
    name .avi files; a file of another extension but the same stem is taken for it. Classes are numbered as
    `classInd.txt` says, from 0 instead of 1. A listed video without a file becomes a fault of packing.

    Raises:
        ConfigError: A folder or list is missing, or a class folder is not in `classInd.txt`.
    """
    paths, notes = find_videos(folder)
    classes = _read_class_index(splits)
    parts = _read_split_lists(splits)
    files = unique_files(paths, [path.relative_to(folder).with_suffix("").as_posix() for path in paths])
    listed = {stem: name for stem, (name, _) in parts.items()}
    renamed = [stem for stem in listed if stem in files and files[stem].suffix != Path(listed[stem]).suffix]
    if renamed:
        notes.append(f"{len(renamed)} videos were matched to the split lists by stem (other extension)")
    notes += note_unlisted(files, listed)
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
    return SourceSet("ucf101", sorted_by_name(videos), classes, tuple(notes))


def _read_class_index(splits: Path) -> tuple[str, ...]:
    rows = [line.split() for line in read_lines(splits / "classInd.txt")]
    return tuple(name for _, name in sorted((int(number), name) for number, name in rows))


def _read_split_lists(splits: Path) -> dict[str, tuple[str, dict[str, str]]]:
    """Read all lists: stem -> (listed name, {split: part})."""
    listed: dict[str, tuple[str, dict[str, str]]] = {}
    for part in ("train", "test"):
        for file in sorted(splits.glob(f"{part}list*.txt")):
            split = f"split{int(file.stem.removeprefix(f'{part}list'))}"
            for line in read_lines(file):
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
