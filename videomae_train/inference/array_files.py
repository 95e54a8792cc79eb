"""Arrays of any length into safetensors and npz files, block by block; the same arrays give the same bytes.

Both libraries' own writers want whole arrays in memory; their readers read these files.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, cast

import numpy as np
from safetensors import safe_open

ArrayFormat = Literal["safetensors", "npz"]
ABOUT = "about"
_BYTES_AT_ONCE = 2**24
_NAMES = {"float16": "F16", "float32": "F32", "float64": "F64", "int64": "I64"}


class ArrayBlocks(NamedTuple):
    """An array that comes in blocks along its first axis.

    Attributes:
        dtype: float16, float32, float64 or int64.
        shape: Of the whole array.
        blocks: Makes its parts, in order, of this dtype.
    """

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    blocks: Callable[[], Iterable[np.ndarray]]

    @classmethod
    def of(cls, array: np.ndarray) -> ArrayBlocks:
        """Take an array that is in memory."""
        return cls(array.dtype, array.shape, lambda: (array,))


def write_arrays(
    file: Path, arrays: Mapping[str, ArrayBlocks], about: Mapping[str, object], format: ArrayFormat
) -> None:
    """Write a file that is whole on the disk or not there.

    Args:
        file: Replaced if it is there; its folder exists.
        arrays: Name -> array.
        about: What JSON can hold: in the metadata of safetensors, or an array of text in npz, under the name "about".
        format: Of the file.
    """
    partial = file.with_name(f"{file.name}.partial")
    with partial.open("wb") as stream:
        {"safetensors": _write_safetensors, "npz": _write_npz}[format](
            stream, arrays, json.dumps(about, sort_keys=True)
        )
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)


def _write_safetensors(stream: BinaryIO, arrays: Mapping[str, ArrayBlocks], about: str) -> None:
    """Follow the format's description: length of the header, header padded to 8 bytes, the arrays without gaps."""
    header: dict[str, object] = {"__metadata__": {ABOUT: about}}
    end = 0
    # Wide types first, so that every array begins at a multiple of its item's size.
    ordered = sorted(arrays.items(), key=lambda named: -named[1].dtype.itemsize)
    for name, (dtype, shape, _) in ordered:
        begin, end = end, end + prod(shape) * dtype.itemsize
        header[name] = {"dtype": _NAMES[dtype.name], "shape": shape, "data_offsets": (begin, end)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    stream.write(len(text).to_bytes(8, "little") + text)
    for _, array in ordered:
        for block in array.blocks():
            stream.write(block.tobytes())


def _write_npz(stream: BinaryIO, arrays: Mapping[str, ArrayBlocks], about: str) -> None:
    """Write an .npy member for each array; members have the date that zip files begin with."""
    with zipfile.ZipFile(stream, "w") as members:
        for name, array in {**arrays, ABOUT: ArrayBlocks.of(np.array(about))}.items():
            with members.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                description = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
                np.lib.format.write_array_header_1_0(cast("BinaryIO", member), description)
                for block in array.blocks():
                    member.write(block.tobytes())


def read_names(file: Path, format: ArrayFormat) -> tuple[dict[str, object], list[str]]:
    """Read what a file says of itself, and the names of its arrays.

    Raises:
        OSError, ValueError, KeyError, SafetensorError, BadZipFile: `write_arrays` did not write it.
    """
    if format == "npz":
        with np.load(file) as opened:
            return json.loads(str(opened[ABOUT])), [name for name in opened.files if name != ABOUT]
    with safe_open(file, "np") as opened:
        return json.loads((opened.metadata() or {})[ABOUT]), list(opened.keys())


class SafetensorsFile:
    """A safetensors file whose arrays are read in blocks.

    Args:
        file: Written by `write_arrays`.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def arrays(self) -> dict[str, ArrayBlocks]:
        """List the arrays, without their contents."""
        with safe_open(self._file, "np") as opened:
            shapes = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118  # no mapping
            types = {short: np.dtype(name) for name, short in _NAMES.items()}
            return {
                name: ArrayBlocks(types[each.get_dtype()], tuple(each.get_shape()), self._reader(name))
                for name, each in shapes.items()
            }

    def _reader(self, name: str) -> Callable[[], Iterator[np.ndarray]]:
        def blocks() -> Iterator[np.ndarray]:
            with safe_open(self._file, "np") as opened:
                part = opened.get_slice(name)
                shape: list[int] = part.get_shape()
                if not shape:
                    yield opened.get_tensor(name)
                    return
                rows = max(1, _BYTES_AT_ONCE // max(1, prod(shape[1:]) * 8))
                for begin in range(0, shape[0], rows):
                    yield part[begin : min(begin + rows, shape[0])]

        return blocks
