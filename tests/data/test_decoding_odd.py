"""The decode contract on odd files: the frames of a plain decode from beginning to end, or a typed error."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from hashlib import blake2b
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange
from small_clips import moving_frames

from videomae_train.data.decoding import decode_frames, probe_video
from videomae_train.errors import DecodeError

NUM_FRAMES = 24


def encode_odd(
    *,
    container: str = "mp4",
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (48, 64),
    stamps_ms: list[int] | None = None,
    options: dict[str, str] | None = None,
) -> bytes:
    """Encode moving frames; `stamps_ms` says when each is shown."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width = size
        stream.pix_fmt, stream.codec_context.thread_count = pix_fmt, 1
        if stamps_ms is not None:
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for number, pixels in enumerate(moving_frames(NUM_FRAMES, *size)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if stamps_ms is not None:
                frame.pts, frame.time_base = stamps_ms[number], Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return file.getvalue()


def plain_decode(video: bytes) -> Iterator[np.ndarray]:
    """Every frame of the stream that FFmpeg calls the best, upright; nothing of ours."""
    with av.open(io.BytesIO(video)) as container:
        for frame in container.decode(container.streams.best("video")):
            yield np.rot90(frame.to_ndarray(format="rgb24"), k=round(frame.rotation / 90) % 4)


UNEVEN_MS = np.cumsum([0, *([33, 33, 100] * 8)])[:NUM_FRAMES].tolist()
ODD = {
    "hevc": {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=8:bframes=3"}},
    "vp9": {"container": "webm", "codec": "libvpx-vp9", "options": {"g": "8", "auto-alt-ref": "1"}},
    "av1": {"container": "matroska", "codec": "libsvtav1", "options": {"g": "8", "preset": "12"}},
    "mjpeg": {"container": "avi", "codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "gif": {"container": "gif", "codec": "gif", "pix_fmt": "rgb8"},
    "variable rate": {"stamps_ms": UNEVEN_MS, "options": {"g": "8", "bf": "2"}},
    "variable rate in mkv": {"container": "matroska", "stamps_ms": UNEVEN_MS, "options": {"g": "8", "bf": "2"}},
    "late start": {"stamps_ms": [2000 + 40 * n for n in range(NUM_FRAMES)], "options": {"g": "8"}},
    "odd size": {"pix_fmt": "yuv444p", "size": (47, 63)},
    "10 bit": {"pix_fmt": "yuv420p10le", "options": {"g": "8"}},
    "full range": {"pix_fmt": "yuvj420p", "options": {"g": "8"}},
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_decode_frames__odd_formats_equal_a_plain_decode(name: str) -> None:
    video = encode_odd(**ODD[name])  # type: ignore[arg-type]
    expected = np.stack(list(plain_decode(video)))
    facts = probe_video(video, where="here")
    assert (facts.num_frames, facts.height, facts.width) == expected.shape[:3]
    for indices in ([0, 5, 23], [17], [9, 8]):
        for known in (facts.num_frames, None):
            frames = decode_frames(video, indices, where="here", num_frames=known)
            np.testing.assert_array_equal(frames, expected[indices])


def test_probe_video__tells_variable_rates_from_constant_ones() -> None:
    assert probe_video(encode_odd(**ODD["variable rate"]), where="here").irregular_gap_ratio == pytest.approx(
        7 / 23
    )
    assert probe_video(encode_odd(**ODD["late start"]), where="here").irregular_gap_ratio == 0.0
    rounded = [round(number * 1000 / 30) for number in range(NUM_FRAMES)]
    milliseconds = encode_odd(container="matroska", stamps_ms=rounded)
    assert probe_video(milliseconds, where="here").irregular_gap_ratio == 0.0, "33 or 34 ms is one rate"


def test_probe_video__says_what_windows_cost_and_what_the_file_is() -> None:
    facts = probe_video(encode_odd(pix_fmt="yuv420p10le"), where="here")
    assert (facts.pixel_format, facts.is_seekable, facts.has_audio, facts.rotation_deg) == (
        "yuv420p10le", True, False, 0
    )  # fmt: skip
    avi = encode_odd(container="avi", codec="mpeg4", options={"bf": "2"})
    assert not probe_video(avi, where="here").is_seekable


# Matrices by FFmpeg's numbers: the shares of red and blue in brightness (ITU-R BT.709, BT.601, BT.2020).
MATRICES = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}


def rgb_of(y: np.ndarray, u: np.ndarray, v: np.ndarray, bits: int, is_full: bool, matrix: int) -> np.ndarray:
    """Convert by the definitions of the ITU-R recommendations, in floating point: 0..255."""
    red, blue = MATRICES[matrix]
    top, unit, middle = 2**bits - 1, 2 ** (bits - 8), 2 ** (bits - 1)
    luma = y / top if is_full else (y - 16 * unit) / (219 * unit)
    cb, cr = ((c - middle) / (top if is_full else 224 * unit) for c in (u, v))
    r, b = luma + 2 * (1 - red) * cr, luma + 2 * (1 - blue) * cb
    g = (luma - red * r - blue * b) / (1 - red - blue)
    return np.clip(np.stack([r, g, b], axis=-1), 0, 1) * 255


def colour_chart(bits: int, is_full: bool, matrix: int) -> tuple[bytes, np.ndarray, np.ndarray]:
    """A lossless video of 8 x 8 patches: its bytes, and row, column and RGB of each patch's middle."""
    rng, unit = np.random.default_rng(0), 2 ** (bits - 8)
    low, high = (0, 255) if is_full else (16, 235)
    y = np.linspace(low, high, 64).round().astype(int).reshape(8, 8) * unit
    u, v = rng.integers(100, 156, (2, 8, 8)) * unit
    planes = [np.kron(plane, np.ones((side, side))) for plane, side in ((y, 8), (u, 4), (v, 4))]
    flat = np.concatenate([plane.ravel() for plane in planes]).reshape(96, 64)
    name = "yuv420p" if bits == 8 else "yuv420p10le"
    frame = av.VideoFrame.from_ndarray(flat.astype(np.uint8 if bits == 8 else np.uint16), format=name)
    colour = ColorRange.JPEG if is_full else ColorRange.MPEG
    frame.color_range, frame.colorspace = colour, matrix
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, name
        stream.codec_context.color_range, stream.codec_context.colorspace = colour, matrix
        output.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getvalue(), np.arange(8) * 8 + 3, rgb_of(y, u, v, bits, is_full, matrix)


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("is_full", [False, True], ids=["video range", "full range"])
@pytest.mark.parametrize("bits", [8, 10])
def test_decode_frames__colours_are_those_of_the_standard(bits: int, is_full: bool, matrix: int) -> None:
    video, middles, expected = colour_chart(bits, is_full, matrix)
    shown = decode_frames(video, [0], where="here")[0][np.ix_(middles, middles)].astype(float)
    assert np.abs(shown - expected).max() < 4
    for other in {(not is_full, matrix), (is_full, 5 if matrix != 5 else 1)}:
        wrong = rgb_of(*planes_of(expected, bits, is_full, matrix), bits, *other)
        assert np.abs(wrong - expected).max() > 8, "another range or matrix would be seen"


def planes_of(
    rgb: np.ndarray, bits: int, is_full: bool, matrix: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The inverse of `rgb_of`, for colours inside the cube."""
    red, blue = MATRICES[matrix]
    top, unit, middle = 2**bits - 1, 2 ** (bits - 8), 2 ** (bits - 1)
    r, g, b = np.moveaxis(rgb / 255, -1, 0)
    luma = red * r + (1 - red - blue) * g + blue * b
    cb, cr = (b - luma) / (2 * (1 - blue)), (r - luma) / (2 * (1 - red))
    scale = top if is_full else 224 * unit
    y = luma * top if is_full else luma * 219 * unit + 16 * unit
    return y, cb * scale + middle, cr * scale + middle


ZOO = Path(__file__).parents[2] / "../shared/data/zoo"
# What `videomae check` says of each file; docs/data.md tells what kind of file it is.
ZOO_CAUSES = {
    "AudioVideoInterleave.avi": "zero frames",
    "FlashVideo.flv": "truncated",
    "again.mkv": "",
    "av1_video.mkv": "",
    "corrupted.mp4": "undecodable",
    "delayed_start.mp4": "",
    "demo.mp4": "",
    "demo_skeleton.mp4": "",
    "dog.mp4": "",
    "flipping_a_pancake.mkv": "",
    "goldeneye-vfr-drop3.mp4": "",
    "h264_10bits.mp4": "",
    "h265_video.mp4": "",
    "imageio_issue245.gif": "",
    "mp4-with-audio.mp4": "no video stream",
    "nasa_13013.mp4": "",
    "no.mkv": "",
    "no_duration.webm": "",
    "part_0.mp4": "",
    "result.webm": "empty",
    "smpte-2997.mp4": "",
    "test.avi": "",
    "test.wav": "no video stream",
    "unordered.mov": "",
    "video-1s.avi": "",
    "video_90.mov": "",
    "webm.webm": "",
    "yes.mkv": "",
}
needs_zoo = pytest.mark.skipif(not ZOO.is_dir(), reason="the real odd files are not here")


@pytest.mark.slow
@needs_zoo
def test_zoo__each_file_is_fine_or_has_its_cause() -> None:
    causes: dict[str, str] = {}
    for file in sorted(ZOO.iterdir()):
        try:
            probe_video(file.read_bytes(), where=file.name)
            causes[file.name] = ""
        except DecodeError as error:
            causes[file.name] = error.cause.value
    assert causes == ZOO_CAUSES


@pytest.mark.slow
@needs_zoo
@pytest.mark.parametrize("name", [name for name, cause in ZOO_CAUSES.items() if not cause])
def test_zoo__windows_equal_a_plain_decode(name: str) -> None:
    video = (ZOO / name).read_bytes()
    expected = [digest(frame) for frame in plain_decode(video)]
    num_frames = probe_video(video, where=name).num_frames
    assert num_frames == len(expected)
    for start in {0, num_frames // 3, num_frames - 1}:
        indices = np.minimum(np.arange(start, start + 9, 4), num_frames - 1)
        for known in (num_frames, None):
            frames = decode_frames(video, indices, where=name, num_frames=known)
            assert [digest(frame) for frame in frames] == [expected[index] for index in indices]


def digest(frame: np.ndarray) -> bytes:
    return blake2b(np.ascontiguousarray(frame).tobytes(), digest_size=16).digest()
