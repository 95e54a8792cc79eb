"""A made-up video set whose classes are motions: real files for demos and tests, made in seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np

from videomae_train.data.motions import MOTIONS, render_motion
from videomae_train.errors import ConfigError


def generate_motion_videos(
    folder: Path,
    *,
    num_videos: int,
    seed: int,
    size: int = 64,
    num_frames: int = 32,
    fps: int = 16,
    classes: Sequence[str] = tuple(MOTIONS),
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, ...]:
    """Write H.264 videos into one folder per class, as `<folder>/<class>/motion-<number>.mp4`.

    Video n shows class n modulo the number of classes; it is a function of (seed, n, its class, the sizes).

    Args:
        folder: New or empty; made if it is missing.
        num_videos: In all, spread evenly over the classes.
        seed: Another seed gives another set.
        size: Width and height in pixels, even, at least 16.
        num_frames: Frames per video.
        fps: Frames per second that the files state.
        classes: Keys of `motions.MOTIONS`.
        on_progress: Called after each video with (videos done, videos in all).

    Returns:
        The files, in the order of their numbers.

    Raises:
        ConfigError: A class is unknown or named twice, a size cannot be had, or the folder is not empty.
    """
    _check_request(folder, num_videos=num_videos, size=size, num_frames=num_frames, fps=fps, classes=classes)
    paths: list[Path] = []
    for number in range(num_videos):
        name = classes[number % len(classes)]
        path = folder / name / f"motion-{number:06d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = render_motion(name, seed=seed, number=number, size=size, num_frames=num_frames)
        _encode_short_gop(path, frames, fps)
        paths.append(path)
        if on_progress is not None:
            on_progress(number + 1, num_videos)
    return tuple(paths)


def _encode_short_gop(path: Path, frames: np.ndarray, fps: int) -> None:
    """Write H.264 with a key frame every eight frames, so that equal frames give equal bytes on every processor.

    Left alone, x264 decides by the processor's instructions and its threads, and so may what converts colours for it.
    """
    options = {"crf": "16", "preset": "veryfast", "g": "8", "bf": "0", "threads": "1"}
    options["x264-params"] = "cpu-independent=1"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(_yuv420p(frame), format="yuv420p")))
        container.mux(stream.encode(None))


def _yuv420p(frame: np.ndarray) -> np.ndarray:
    """Convert uint8 RGB (H, W, 3) to planes below each other, uint8 (3 H / 2, W): ITU-R BT.601 in integers of 1/256."""
    height, width, _ = frame.shape
    rgb = frame.astype(np.int32)
    luma = (rgb @ [66, 129, 25] + 128 >> 8) + 16
    fours = rgb.reshape(height // 2, 2, width // 2, 2, 3).sum((1, 3))
    chroma = (fours @ np.array([[-38, 112], [-74, -94], [112, -18]]) + 512 >> 10) + 128
    planes = (luma, chroma[..., 0], chroma[..., 1])
    return np.concatenate([plane.ravel() for plane in planes]).reshape(-1, width).astype(np.uint8)


def _check_request(
    folder: Path, *, num_videos: int, size: int, num_frames: int, fps: int, classes: Sequence[str]
) -> None:
    unknown = [name for name in classes if name not in MOTIONS]
    if unknown or not classes or len(set(classes)) != len(classes):
        raise ConfigError(
            where="classes",
            came=f"{list(classes)}" + (f" with unknown {unknown}" if unknown else ""),
            expected=f"different names among {', '.join(MOTIONS)}",
            todo="Correct the list of motions.",
        )
    for name, value, right, wanted in (
        (
            "num_videos",
            num_videos,
            num_videos >= len(classes),
            f"one for each of {len(classes)} classes or more",
        ),
        ("size", size, size >= 16 and size % 2 == 0, "an even number, at least 16 (H.264 halves colour)"),
        ("num_frames", num_frames, num_frames >= 2, "at least 2, or nothing moves"),
        ("fps", fps, fps >= 1, "at least 1"),
    ):
        if not right:
            raise ConfigError(where=name, came=str(value), expected=wanted, todo=f"Choose another {name}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            where=str(folder),
            came="something is there already",
            expected="a new or empty folder",
            todo="Name another folder, or remove this one.",
        )
