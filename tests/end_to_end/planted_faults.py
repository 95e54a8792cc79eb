"""A packed set with twelve kinds of broken video in it, whose shards and index agree with each other."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np

from videomae_train.data.index import PackedDataset
from videomae_train.data.layout import (
    DESCRIPTION_FILE,
    INDEX_FILE,
    IndexRow,
    content_checksum,
    shard_name,
    write_index,
    write_json,
)
from videomae_train.data.shards import ShardSample, scan_shard, write_shard


def _encode(frames: list[np.ndarray], container: str = "mp4") -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream("libx264", rate=25, options={"g": "2", "preset": "ultrafast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode())
    return file.getvalue()


def _noise(count: int, size: int = 32) -> list[np.ndarray]:
    return list(np.random.default_rng(size).integers(0, 256, (count, size, size, 3), dtype=np.uint8))


def _audio() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="wav") as output:
        stream = output.add_stream("pcm_s16le", rate=8000)
        stream.layout = "mono"
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4000), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        output.mux(stream.encode(sound))
    return file.getvalue()


def _payload_flipped(content: bytes) -> bytes:
    """Every third byte of the coded frames inverted; the header stays whole."""
    start = content.index(b"mdat") + 4
    size = int.from_bytes(content[start - 8 : start - 4], "big")
    payload = np.frombuffer(content[start : start - 8 + size], np.uint8).copy()
    payload[::3] ^= 0xFF
    return content[:start] + payload.tobytes() + content[start - 8 + size :]


KINDS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "truncated": lambda good: good[: len(good) // 2],
    "zeros": lambda good: bytes(len(good)),
    "garbage header": lambda good: bytes(range(64)) + good[64:],
    "noise": lambda good: np.random.default_rng(0).bytes(len(good)),
    "error page": lambda _: b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n" * 40,
    "audio only": lambda _: _audio(),
    "no sample table": lambda good: good.replace(b"stbl", b"free"),
    "flipped bits": _payload_flipped,
    "one frame": lambda _: _encode(_noise(1)),
    "fewer frames than the index says": lambda _: _encode(_noise(5)),
    "sizes that change": lambda _: b"".join(
        _encode(_noise(3, size), "mpegts") for size in (32, 48, 32, 48, 32, 48)
    ),
}


def plant(good: Path, destination: Path) -> list[int]:
    """Write the videos of a packed set, and behind each of the first twelve a broken relative of it.

    Every broken one keeps the row of the video that it was, but for its bytes and their checksum, as if it had gone bad
    on the way into the shard.

    Returns:
        The sample ids of the broken ones, in the order of `KINDS`.
    """
    destination.mkdir(parents=True)
    dataset = PackedDataset.open(good)
    kinds = list(KINDS.items())
    rows: list[IndexRow] = []
    samples: list[ShardSample] = []
    broken: list[int] = []
    for number, row in enumerate(dataset.table.to_pylist()):
        splits = {split: row.pop(f"split.{split}") for split in dataset.splits}
        contents = {row["key"]: dataset.read_bytes(number)}
        if number < len(kinds):
            name, damage = kinds[number]
            contents[f"broken {name}"] = damage(contents[row["key"]])
            broken.append(len(rows) + 1)
        for key, content in contents.items():
            rows.append(IndexRow(**{**row, "key": key, "checksum": content_checksum(content)}, splits=splits))
            samples.append(ShardSample(key, row["extension"], content, {}))
    shards = []
    for first in range(0, len(rows), 7):
        file = destination / shard_name(first // 7)
        facts = write_shard(file, samples[first : first + 7])
        assert facts is not None
        members = scan_shard(file)
        for place in range(first, min(first + 7, len(rows))):
            offset, size = members[f"{rows[place].key}.{rows[place].extension}"]
            rows[place] = replace(rows[place], shard=first // 7, offset=offset, size=size)
        shards.append(facts.__dict__)
    write_index(destination / INDEX_FILE, rows, tuple(dataset.splits))
    description = json.loads((good / DESCRIPTION_FILE).read_text())
    del description["index"]  # its checksum; sets packed before there was one have none
    write_json(destination / DESCRIPTION_FILE, {**description, "num_videos": len(rows), "shards": shards})
    return broken
