"""Folders without lists: class folders, unlabelled videos, folders of extracted frames."""

from __future__ import annotations

from pathlib import Path

from videomae_train.data.sources.videos import (
    IMAGE_EXTENSIONS,
    VIDEO_EXTENSIONS,
    SourceSet,
    SourceVideo,
    find_videos,
    has_extension,
    list_files,
    sorted_by_name,
)
from videomae_train.errors import ConfigError


def read_class_folders(folder: Path) -> SourceSet:
    """List a folder whose subfolders are classes; classes are numbered in the order of their names.

    Raises:
        ConfigError: The folder is missing or holds no video.
    """
    paths, notes = find_videos(folder)
    names = [path.relative_to(folder) for path in paths]
    loose = sum(len(name.parts) == 1 for name in names)
    if loose:
        notes.append(f"{loose} videos lie outside a class folder and are unlabelled")
    classes, labels = _labels_by_folder(names)
    videos = (
        SourceVideo(path, name.as_posix(), label)
        for path, name, label in zip(paths, names, labels, strict=True)
    )
    return SourceSet("folders", sorted_by_name(videos), classes, tuple(notes))


def read_unlabelled(folder: Path) -> SourceSet:
    """List all videos below a folder, for pretraining; the names of subfolders mean nothing.

    Raises:
        ConfigError: The folder is missing or holds no video.
    """
    paths, notes = find_videos(folder)
    videos = (SourceVideo(path, path.relative_to(folder).as_posix(), -1) for path in paths)
    return SourceSet("unlabelled", sorted_by_name(videos), (), tuple(notes))


def holds_frames(folder: Path) -> bool:
    """Say whether a folder holds images and no video."""
    files = list_files(folder)
    is_image = any(has_extension(path, IMAGE_EXTENSIONS) for path in files)
    return is_image and not any(has_extension(path, VIDEO_EXTENSIONS) for path in files)


def read_frame_folders(folder: Path, *, frames_fps: float | None, unlabelled: bool) -> SourceSet:
    """List a folder whose folders of images are videos; the first folder of a longer path is the class.

    Raises:
        ConfigError: The rate is not given, or images lie outside a folder of their own.
    """
    if frames_fps is None or not 0 < frames_fps <= 1000:
        raise ConfigError(
            where="--frames-fps",
            came=str(frames_fps),
            expected=f"the rate, in frames per second, at which the images below {folder} were taken",
            todo="Give it: --frames-fps 25",
        )
    files = list_files(folder)
    paths = sorted({path.parent for path in files if has_extension(path, IMAGE_EXTENSIONS)})
    if folder in paths:
        raise ConfigError(
            where=str(folder),
            came="images directly in the folder",
            expected="one folder of images for each video",
            todo="Move the images of each video into a folder of their own, or give the folder above.",
        )
    names = [path.relative_to(folder) for path in paths]
    classes, labels = _labels_by_folder(names)
    videos = (
        SourceVideo(path, name.as_posix(), -1 if unlabelled else label, frames_fps=frames_fps)
        for path, name, label in zip(paths, names, labels, strict=True)
    )
    return SourceSet("frames", sorted_by_name(videos), () if unlabelled else classes)


def _labels_by_folder(names: list[Path]) -> tuple[tuple[str, ...], list[int]]:
    """Take the first of several parts for the class."""
    classes = tuple(sorted({name.parts[0] for name in names if len(name.parts) > 1}))
    numbers = {name: number for number, name in enumerate(classes)}
    return classes, [numbers[name.parts[0]] if len(name.parts) > 1 else -1 for name in names]
