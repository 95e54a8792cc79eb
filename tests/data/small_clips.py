"""Small clips for tests, encoded on the spot."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np


def moving_frames(num_frames: int, height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """A bright square on a smooth ramp, at another place in each frame: uint8 (n, H, W, 3)."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 160, width)[None, :, None] * rng.uniform(0.3, 1, 3)
    frames = np.broadcast_to(ramp, (num_frames, height, width, 3)).copy()
    for number in range(num_frames):
        top, left = (number * 3 + seed) % (height - 12), (number * 5) % (width - 12)
        frames[number, top : top + 12, left : left + 12] = 255
    return frames.astype(np.uint8)


def encode(
    frames: np.ndarray,
    *,
    container: str = "mp4",
    codec: str = "libx264",
    fps: int = 25,
    options: dict[str, str] | None = None,
) -> bytes:
    """Encode frames as a video file."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=fps, options=options or {})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode())
    return file.getvalue()


def decode_all(video: bytes) -> np.ndarray:
    """Decode a file from beginning to end the plain way: uint8 (n, H, W, 3)."""
    with av.open(io.BytesIO(video)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def write_tree(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder
