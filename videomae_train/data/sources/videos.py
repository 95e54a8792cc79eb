"""What every source is made of, and finding files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from videomae_train.data.file_walk import FoundFile, files_below
from videomae_train.errors import ConfigError

_PLAIN_EXTENSIONS = ("3gp", "asf", "avi", "flv", "gif", "m4v", "mkv", "mov", "mp4", "ogv", "webm", "wmv")
_STREAM_EXTENSIONS = ("m2ts", "mpeg", "mpg", "mts", "ts", "vob")
VIDEO_EXTENSIONS = frozenset((*_PLAIN_EXTENSIONS, *_STREAM_EXTENSIONS))
IMAGE_EXTENSIONS = frozenset(("bmp", "jpeg", "jpg", "png", "webp"))


@dataclass(frozen=True)
class SourceVideo:
    """One video of a source, which may turn out to be missing or broken.

    Attributes:
        path: The file, or a folder of frames.
        name: Its path inside the source, with "/" between parts; unique in the source.
        label: Class number, -1 if it has none.
        splits: For each split that uses the video, the part it belongs to: {"split1": "train"}.
        frames_fps: Frames per second of a folder of frames; None for a file, which states its own.
    """

    path: Path
    name: str
    label: int
    splits: Mapping[str, str] = field(default_factory=dict[str, str])
    frames_fps: float | None = None


@dataclass(frozen=True)
class SourceSet:
    """Everything that packing needs to know about a source.

    Attributes:
        layout: What kind of source it was, such as "folders", "list" or "ucf101".
        videos: Sorted by name.
        classes: Class names; a label is a number in this list.
        notes: What the reader should know: files left out, names matched by stem, and the like.
    """

    layout: str
    videos: tuple[SourceVideo, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def list_files(folder: Path) -> list[Path]:
    """List the files below a folder in the order of their names, without hidden ones.

    A link that leads nowhere is listed too: as a video it becomes a fault of packing.

    Raises:
        ConfigError: There is no such folder, or one in it may not be listed.
    """
    return [file.path for file in _found(folder)]


def _found(folder: Path) -> list[FoundFile]:
    if not folder.is_dir():
        raise ConfigError(
            where=str(folder),
            came="no such folder",
            expected="a folder with videos, or a list of them",
            todo="Check the path.",
        )
    return [file for file in files_below(folder) if not file.path.name.startswith(".")]


def has_extension(path: Path, extensions: frozenset[str]) -> bool:
    """Say whether a file is named as one of these kinds."""
    return path.suffix.lower().removeprefix(".") in extensions


def find_videos(folder: Path) -> tuple[list[Path], list[str]]:
    """Find all files named as videos, and note how many others there are.

    Raises:
        ConfigError: There is no such folder, one in it may not be listed, or there is no video in it.
    """
    files = _found(folder)
    videos = [file.path for file in files if has_extension(file.path, VIDEO_EXTENSIONS)]
    if not videos:
        raise no_videos(str(folder), f"{len(files)} files, none of them named as a video")
    others = [file for file in files if not has_extension(file.path, VIDEO_EXTENSIONS)]
    # Without its target nobody can say whether a link was a note or a whole class.
    lost = [file.path for file in others if file.leads_nowhere]
    notes = [f"{len(others) - len(lost)} files without a video extension were left out"]
    return videos, [
        *(notes if len(others) > len(lost) else []),
        *([f"{len(lost)} links that lead nowhere were left out, such as {lost[0]}"] if lost else []),
    ]


def unique_files(paths: Sequence[Path], names: Sequence[str]) -> dict[str, Path]:
    """Give each name its file.

    Raises:
        ConfigError: Two files have one name.
    """
    files = dict(zip(names, paths, strict=True))
    kept = set(files.values())
    doubled = [path for path in paths if path not in kept]
    if doubled:
        raise ConfigError(
            where=str(doubled[0]),
            came="a second file of the same stem",
            expected="one file for each name of the lists",
            todo="Take one of the two away.",
        )
    return files


def no_videos(where: str, came: str) -> ConfigError:
    """Make the error of a source without videos."""
    return ConfigError(
        where=where,
        came=came,
        expected="at least one video (" + " ".join(sorted(VIDEO_EXTENSIONS)) + ")",
        todo="Check the path.",
    )


def sorted_by_name(videos: Iterable[SourceVideo]) -> tuple[SourceVideo, ...]:
    """Put videos into the order that a source has."""
    return tuple(sorted(videos, key=lambda video: video.name))
