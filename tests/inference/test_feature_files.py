from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from videomae_train.errors import ConfigError, TrainingError
from videomae_train.inference import feature_files
from videomae_train.inference.array_files import ArrayBlocks, SafetensorsFile, write_arrays
from videomae_train.inference.feature_files import FeatureFolder, check_joined, join_videos
from videomae_train.inference.features import FeaturePiece
from videomae_train.types import Fault

KEYS = ("run/a.b.mp4", "run/a.mp4", "c.mp4", "broken.mp4")
REQUEST = {"layer": 2, "clips": {"stride": 4}}
FAULT = Fault("broken.mp4", "", 3, -1, "undecodable", "rubbish")


def folder_of(path: Path, **changes: Any) -> FeatureFolder:
    return FeatureFolder(
        path, REQUEST, **{"format": "safetensors", "per": "clip", "dtype": "float32", **changes}
    )


def features_of(place: int) -> np.ndarray:
    return np.random.default_rng(place).standard_normal((5 - place, 2, 3)).astype(np.float32)


def pieces_of(place: int, first: int) -> Iterator[FeaturePiece]:
    """Two clips at a time; the last video is broken after its first two."""
    rows = features_of(place)
    for begin in range(first, max(len(rows), 1), 2):
        if place == 3 and begin == 2:
            break
        numbers = np.arange(begin, min(begin + 2, len(rows)))
        last = begin + 2 >= len(rows) and place != 3
        yield FeaturePiece(place, rows[numbers], numbers * 4, numbers * 0.16, 20 if last else -1, None)
    if place == 3:
        yield FeaturePiece(3, rows[:0], np.zeros(0, np.int64), np.zeros(0), -1, FAULT)


def fill(folder: FeatureFolder) -> None:
    with folder.filling():
        for place, key in enumerate(KEYS):
            begun = folder.begun(key)
            if begun is None:
                continue
            for piece in pieces_of(place, begun):
                folder.add(key, piece, begun)
                begun += len(piece.features)
        folder.end(KEYS)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()
    }


class Killed(BaseException):
    """As sudden as SIGKILL for what this process does."""


@pytest.mark.parametrize("format", ["safetensors", "npz"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_folder__killed_before_or_after_any_change_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, when: str
) -> None:
    """Each of the calls that change what is there under its own name is the last one once."""
    changes = 0
    deadline = -1

    def killing(call: Any) -> Any:
        def wrapped(*given: Any, **named: Any) -> Any:
            nonlocal changes
            changes += 1
            if when == "before" and changes == deadline:
                raise Killed
            call(*given, **named)
            if when == "after" and changes == deadline:
                raise Killed

        return wrapped

    for name in ("replace", "unlink"):
        monkeypatch.setattr(Path, name, killing(getattr(Path, name)))
    fill(folder_of(tmp_path / "straight", format=format))
    expected, total = contents(tmp_path / "straight"), changes
    assert set(expected) == {"features.json", "faults.json", *(f"{key}.{format}" for key in KEYS[:3])}
    assert total > 12
    for deadline in range(1, total + 1):
        changes = 0
        folder = folder_of(tmp_path / str(deadline), format=format)
        with pytest.raises(Killed):
            fill(folder)
        changes = total
        fill(folder_of(tmp_path / str(deadline), format=format))
        assert contents(tmp_path / str(deadline)) == expected, deadline


def test_folder__goes_on_behind_the_clips_that_are_there(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "out")
    with folder.filling():
        pieces = list(pieces_of(0, 0))
        folder.add(KEYS[0], pieces[0], 0)
        folder.add(KEYS[0], pieces[1], 2)
        assert [folder.begun(key) for key in KEYS] == [4, 0, 0, 0]
        folder.add(KEYS[0], pieces[2], 4)
        assert [folder.begun(key) for key in KEYS] == [None, 0, 0, 0]
    assert not list(folder.folder.rglob("*.part"))


def test_files__hold_every_clip_with_its_time(tmp_path: Path) -> None:
    fill(folder_of(tmp_path / "tensors"))
    fill(folder_of(tmp_path / "arrays", format="npz"))
    for place, key in enumerate(KEYS[:3]):
        tensors = load_file(tmp_path / "tensors" / f"{key}.safetensors")
        arrays = np.load(tmp_path / "arrays" / f"{key}.npz")
        for name, array in tensors.items():
            np.testing.assert_array_equal(array, arrays[name])
        np.testing.assert_array_equal(tensors["features"], features_of(place))
        np.testing.assert_array_equal(tensors["start_frames"], np.arange(5 - place) * 4)
        np.testing.assert_array_equal(tensors["start_sec"], np.arange(5 - place) * 0.16)
        assert tensors["num_frames"] == 20
        assert tensors["num_frames"].shape == ()


def test_per_video__is_the_mean_of_its_clips(tmp_path: Path) -> None:
    fill(folder_of(tmp_path / "out", per="video", dtype="float16"))
    for place, key in enumerate(KEYS[:3]):
        tensors = load_file(tmp_path / "out" / f"{key}.safetensors")
        assert set(tensors) == {"features", "num_frames"}
        expected = features_of(place).astype(np.float64).mean(0).astype(np.float16)
        np.testing.assert_array_equal(tensors["features"], expected)


def test_float16__rounds_once_and_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "out", dtype="float16")
    fill(folder)
    tensors = load_file(folder.file(KEYS[0]))
    np.testing.assert_array_equal(tensors["features"], features_of(0).astype(np.float16))
    piece = next(pieces_of(0, 0))
    for value, message in ((7e4, "float32"), (np.nan, "not finite")):
        with pytest.raises(TrainingError, match=message):
            folder.add("new.mp4", piece._replace(features=np.full((2, 2, 3), value, np.float32)), 0)


def test_folder__of_something_else_is_left_alone(tmp_path: Path) -> None:
    fill(folder_of(tmp_path / "out"))
    before = contents(tmp_path / "out")
    other = FeatureFolder(
        tmp_path / "out", {**REQUEST, "layer": 1}, format="safetensors", per="clip", dtype="float32"
    )
    with pytest.raises(ConfigError, match="layer 2, now 1"), other.filling():
        pass
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("text")
    with pytest.raises(ConfigError, match=r"thesis\.txt"), folder_of(tmp_path / "mine").filling():
        pass
    assert contents(tmp_path / "out") == before


def test_folder__is_filled_by_one_process_at_a_time(tmp_path: Path) -> None:
    first, second = (folder_of(tmp_path / "out") for _ in range(2))
    with first.filling(), pytest.raises(ConfigError, match="another process"), second.filling():
        pass


@pytest.mark.parametrize("format", ["safetensors", "npz"])
def test_one_file__holds_all_videos_by_their_keys(tmp_path: Path, format: Any) -> None:
    folder = folder_of(tmp_path / "out")
    fill(folder)
    file = tmp_path / f"all.{format}"
    join_videos(folder, KEYS, file, format)
    arrays: Any = load_file(file) if format == "safetensors" else np.load(file)
    for place, key in enumerate(KEYS[:3]):
        np.testing.assert_array_equal(arrays[f"features/{key}"], features_of(place))
        assert arrays[f"num_frames/{key}"] == 20
    check_joined(folder, KEYS[:3], file, format)
    for keys in (KEYS[:2], KEYS):
        with pytest.raises(ConfigError, match="videos"):
            check_joined(folder, keys, file, format)
    with pytest.raises(ConfigError, match="another request"):
        check_joined(folder_of(tmp_path / "out", per="video"), KEYS[:3], file, format)
    file.write_bytes(b"thesis")
    with pytest.raises(ConfigError):
        check_joined(folder, KEYS[:3], file, format)


def test_arrays__are_read_and_written_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videomae_train.inference.array_files._BYTES_AT_ONCE", 64)
    rows = np.arange(70, dtype=np.float32).reshape(35, 2)
    parts: Sequence[np.ndarray] = np.split(rows, [0, 3, 30])
    write_arrays(
        tmp_path / "a", {"x": ArrayBlocks(rows.dtype, rows.shape, lambda: parts)}, {"b": 1}, "safetensors"
    )
    array = SafetensorsFile(tmp_path / "a").arrays()["x"]
    blocks = list(array.blocks())
    assert (array.shape, array.dtype) == ((35, 2), np.float32)
    assert max(map(len, blocks)) == 4
    np.testing.assert_array_equal(np.concatenate(blocks), rows)
    assert feature_files.read_names(tmp_path / "a", "safetensors") == ({"b": 1}, ["x"])


def test_safetensors__arrays_begin_where_their_items_may(tmp_path: Path) -> None:
    """Readers that map the file look at whole items; the format wants no gaps."""
    odd = {"a": np.zeros(3, np.float16), "b": np.zeros(1, np.float64), "c": np.zeros(1, np.float32)}
    write_arrays(
        tmp_path / "x", {name: ArrayBlocks.of(each) for name, each in odd.items()}, {}, "safetensors"
    )
    content = (tmp_path / "x").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    for name, array in odd.items():
        assert (8 + length + header[name]["data_offsets"][0]) % array.dtype.itemsize == 0
