from __future__ import annotations

import io
import struct

import av
import numpy as np
import pytest
from small_clips import decode_all, encode, moving_frames

from videomae_train.data import decoding
from videomae_train.data.decoding import decode_frames, probe_video
from videomae_train.errors import DecodeCause, DecodeError

FORMATS = {
    "h264 mp4 with b-frames": {"options": {"g": "12", "bf": "3"}},
    "h264 mp4 open gop": {"options": {"g": "6", "bf": "2", "x264-params": "open-gop=1"}},
    "h264 mkv short gop": {"container": "matroska", "options": {"g": "4", "bf": "0"}},
    "h264 avi with b-frames": {"container": "avi", "options": {"g": "8", "bf": "2"}},
    "mpeg4 avi": {"container": "avi", "codec": "mpeg4", "options": {"g": "6"}},
    "mpeg4 avi with b-frames": {"container": "avi", "codec": "mpeg4", "options": {"g": "10", "bf": "2"}},
    "mpeg2 ts": {"container": "mpegts", "codec": "mpeg2video", "options": {"g": "5", "bf": "1"}},
    "vp8 webm": {
        "container": "webm",
        "codec": "libvpx",
        "options": {"g": "8", "auto-alt-ref": "1", "lag-in-frames": "8"},
    },
}


@pytest.fixture(scope="module", params=FORMATS.values(), ids=FORMATS.keys())
def video(request: pytest.FixtureRequest) -> bytes:
    return encode(moving_frames(33), **request.param)


def test_decode_frames__equals_a_full_decode_for_every_frame(video: bytes) -> None:
    expected = decode_all(video)
    num_frames = probe_video(video, where="here").num_frames
    assert num_frames == len(expected)
    for index in range(num_frames):
        for known in (num_frames, None):
            frame = decode_frames(video, [index], where="here", num_frames=known)
            np.testing.assert_array_equal(frame[0], expected[index])


def test_decode_frames__gives_any_order_and_repetition(video: bytes) -> None:
    expected = decode_all(video)
    indices = [20, 7, 7, 31, 0, 20]
    for known in (len(expected), None):
        frames = decode_frames(video, indices, where="here", num_frames=known)
        np.testing.assert_array_equal(frames, expected[indices])


@pytest.fixture
def packets_decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many packets each decoding by stamps was given."""
    given: list[int] = []
    decode_stamps = decoding._decode_stamps
    monkeypatch.setattr(
        decoding,
        "_decode_stamps",
        lambda stream, runs, wanted: given.append(sum(map(len, runs))) or decode_stamps(stream, runs, wanted),
    )
    return given


def test_decode_frames__starts_at_the_keyframe_before(clip: bytes, packets_decoded: list[int]) -> None:
    for indices in ([24, 29], [29], [23]):
        decode_frames(clip, indices, where="here", num_frames=30)
    assert packets_decoded == [5, 5, 8], (
        "keyframes are at 0, 8, 16, 24; the last is stored before the one shown before it"
    )


def test_decode_frames__jumps_over_what_no_wanted_frame_needs(
    clip: bytes, packets_decoded: list[int]
) -> None:
    frames = decode_frames(clip, [1, 9, 26], where="here", num_frames=30)
    assert packets_decoded[0] < 10, "two to four of each run; from 1 to 26 it would be 26"
    np.testing.assert_array_equal(frames, decode_all(clip)[[1, 9, 26]])


def test_decode_frames__counts_when_the_packets_are_not_the_frames(
    clip: bytes, packets_decoded: list[int]
) -> None:
    frames = decode_frames(clip, [9], where="here", num_frames=29)
    np.testing.assert_array_equal(frames[0], decode_all(clip)[9])
    assert packets_decoded == []


def test_decode_frames__a_frame_that_is_not_there(clip: bytes) -> None:
    for known in (30, None):
        with pytest.raises(DecodeError, match="frame 30 was asked for, the video has 30") as caught:
            decode_frames(clip, [3, 30], where="shard-000001.tar, a", num_frames=known)
        assert caught.value.cause == DecodeCause.TRUNCATED


@pytest.mark.parametrize("indices", [[], [-1, 2]])
def test_decode_frames__refuses_impossible_numbers(clip: bytes, indices: list[int]) -> None:
    with pytest.raises(ValueError, match="frame numbers"):
        decode_frames(clip, indices, where="here")


def test_decode_frames__turns_the_picture_upright() -> None:
    frames = np.zeros((4, 48, 64, 3), np.uint8)
    frames[:, :24, :32] = 255  # top left
    video = encode(frames)
    matrix = video.index(b"tkhd") + 44
    turned = (
        video[:matrix]
        + struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 48 << 16, 0, 1 << 30)
        + video[matrix + 36 :]
    )
    upright = decode_frames(turned, [1], where="here", num_frames=4)[0]
    assert upright.shape == (64, 48, 3)
    assert upright[:30, 26:].mean() > 230, "a quarter turn clockwise puts top left to the top right"
    assert upright[34:].mean() < 20
    facts = probe_video(turned, where="here")
    assert (facts.height, facts.width) == (64, 48)


def test_probe_video__facts(clip: bytes) -> None:
    facts = probe_video(clip, where="here")
    assert (facts.num_frames, facts.fps, facts.height, facts.width) == (30, 25.0, 48, 64)
    assert facts.duration_sec == pytest.approx(1.2)
    assert (facts.codec, facts.keyframe_interval, facts.num_damaged_frames) == ("h264", 8, 0)


def audio_only() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="wav") as output:
        stream = output.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), layout="mono")
        frame.sample_rate = 8000
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return file.getvalue()


def small_avi() -> bytes:
    return encode(moving_frames(40), container="avi", codec="mpeg4")


FAULTS = {
    DecodeCause.EMPTY: lambda: b"",
    DecodeCause.UNDECODABLE: lambda: b"rubbish " * 100,
    DecodeCause.NO_VIDEO_STREAM: audio_only,
    DecodeCause.ZERO_FRAMES: lambda: encode(moving_frames(3), container="avi", codec="mpeg4").replace(
        b"00dc", b"JUNK"
    ),
    DecodeCause.TRUNCATED: lambda: encode(moving_frames(40), container="avi", codec="mpeg4")[:-1000],
}


@pytest.mark.parametrize("cause", FAULTS, ids=str)
def test_probe_video__names_the_cause(cause: DecodeCause) -> None:
    with pytest.raises(DecodeError) as caught:
        probe_video(FAULTS[cause](), where="folder/a.mp4")
    assert caught.value.cause == cause
    assert str(caught.value).startswith("folder/a.mp4: ")


def test_probe_video__a_stream_that_no_decoder_knows(clip: bytes) -> None:
    with pytest.raises(DecodeError, match="no decoder for this video stream") as caught:
        probe_video(clip.replace(b"avc1", b"zzzz"), where="here")
    assert caught.value.cause == DecodeCause.UNDECODABLE


def test_probe_video__counts_damaged_frames() -> None:
    noise = np.random.default_rng(0).integers(0, 120, (20, 48, 64, 3))
    broken = bytearray(
        encode((moving_frames(20) // 2 + noise).astype(np.uint8), container="avi", codec="mpeg4")
    )
    start = broken.index(b"movi") + 300
    for place in range(start, start + 40, 4):
        broken[place] ^= 0x5A
    assert probe_video(bytes(broken), where="here").num_damaged_frames > 0
