"""What every source is made of, and finding files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

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

    Raises:
        ConfigError: There is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(
            where=str(folder),
            came="no such folder",
            expected="a folder with videos, or a list of them",
            todo="Check the path.",
        )
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]


def has_extension(path: Path, extensions: frozenset[str]) -> bool:
    """Say whether a file is named as one of these kinds."""
    return path.suffix.lower().removeprefix(".") in extensions


def find_videos(folder: Path) -> tuple[list[Path], list[str]]:
    """Find all files named as videos, and note how many others there are.

    Raises:
        ConfigError: There is no such folder, or no video in it.
    """
    files = list_files(folder)
    videos = [path for path in files if has_extension(path, VIDEO_EXTENSIONS)]
    if not videos:
        raise no_videos(str(folder), f"{len(files)} files, none of them named as a video")
    others = len(files) - len(videos)
    return videos, [f"{others} files without a video extension were left out"] if others else []


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


def class_names(labels: Iterable[str]) -> tuple[str, ...]:
    """Order class names; numbers keep their value, so that gaps become classes without videos."""
    distinct = {label for label in labels if label}
    if distinct and all(label.isascii() and label.isdecimal() for label in distinct):
        return tuple(str(number) for number in range(max(map(int, distinct)) + 1))
    return tuple(sorted(distinct))


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
