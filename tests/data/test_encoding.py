from __future__ import annotations

import io
import json
import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from small_clips import decode_all, encode, moving_frames, write_tree

from videomae_train.data import probing
from videomae_train.data.decoding import VideoFacts, decode_frames, probe_video
from videomae_train.data.encoding import Reencoding, reencode
from videomae_train.data.pack_plan import PackOptions
from videomae_train.data.packing import pack
from videomae_train.data.sources import SourceVideo, open_source
from videomae_train.data.synthetic import generate_motion_videos
from videomae_train.errors import ConfigError, DecodeError


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((first.astype(float) - second) ** 2)))


def keyframes(video: bytes) -> list[int]:
    with av.open(io.BytesIO(video)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        return [number for number, packet in enumerate(packets) if packet.is_keyframe]


def encode_as(
    frames: np.ndarray, pixel_format: str, rate: Fraction = Fraction(25), *, with_audio: bool = False
) -> bytes:
    """Encode with another pixel format or rate than `small_clips.encode` can."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("ffv1" if pixel_format.startswith("yuv420p1") else "mpeg4", rate=rate)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pixel_format
        sound = output.add_stream("pcm_s16le", rate=8000) if with_audio else None
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode())
        if sound is not None:
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
            samples.sample_rate, samples.pts = 8000, 0
            output.mux([*sound.encode(samples), *sound.encode(None)])
    return file.getvalue()


def turned(video: bytes) -> bytes:
    """Ask players for a quarter turn clockwise, in the header of an mp4 file of 48x64."""
    matrix = video.index(b"tkhd") + 44
    quarter = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 48 << 16, 0, 1 << 30)
    return video[:matrix] + quarter + video[matrix + 36 :]


def test_reencode__keeps_every_frame_and_places_the_keyframes() -> None:
    video = encode(moving_frames(45, 96, 128), options={"g": "250", "bf": "3"})
    encoded = reencode(video, Reencoding(keyframe_interval=8), where="here")
    facts = probe_video(encoded, where="here")
    assert (facts.num_frames, facts.fps, facts.height, facts.width) == (45, 25.0, 96, 128)
    assert (facts.codec, facts.keyframe_interval) == ("h264", 8)
    assert keyframes(encoded) == [0, 8, 16, 24, 32, 40]
    assert psnr(decode_all(encoded), decode_all(video)) > 36
    picked = decode_frames(encoded, [31, 9], where="here", num_frames=45)
    np.testing.assert_array_equal(picked, decode_all(encoded)[[31, 9]])


def test_reencode__lower_crf_is_nearer_and_larger(clip: bytes) -> None:
    fine, coarse = (reencode(clip, Reencoding(crf=crf), where="here") for crf in (10, 35))
    assert psnr(decode_all(fine), decode_all(clip)) > psnr(decode_all(coarse), decode_all(clip)) + 3
    assert len(fine) > len(coarse)


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [
        ((96, 128), 48, (48, 64)),
        ((128, 96), 48, (64, 48)),
        ((48, 64), 96, (48, 64)),
        ((90, 161), 32, (32, 58)),
    ],
)
def test_reencode__shrinks_to_the_short_side_and_never_enlarges(
    size: tuple[int, int], short_side: int, expected: tuple[int, int]
) -> None:
    video = encode_as(moving_frames(5, *size), "yuv420p")
    facts = probe_video(reencode(video, Reencoding(short_side=short_side), where="here"), where="here")
    assert (facts.height, facts.width) == expected


def test_reencode__odd_sizes_lose_one_row_or_column() -> None:
    video = encode_as(moving_frames(6, 49, 67), "yuv420p")
    encoded = reencode(video, Reencoding(crf=8), where="here")
    expected = decode_frames(video, range(6), where="here")[:, :48, :66]
    assert psnr(decode_all(encoded), expected) > 36


def test_reencode__refuses_a_picture_of_one_pixel_width() -> None:
    with pytest.raises(DecodeError, match="48x1 is too small"):
        reencode(encode_as(np.zeros((2, 48, 1, 3), np.uint8), "yuv420p"), Reencoding(), where="here")


def test_reencode__ten_bits_become_eight() -> None:
    frames = moving_frames(6)
    encoded = reencode(encode_as(frames, "yuv420p10le"), Reencoding(crf=8), where="here")
    with av.open(io.BytesIO(encoded)) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
    assert psnr(decode_all(encoded), frames) > 36


def test_reencode__turns_the_picture_upright() -> None:
    video = turned(encode(moving_frames(6), options={"crf": "5"}))
    encoded = reencode(video, Reencoding(crf=8), where="here")
    upright = decode_frames(video, range(6), where="here")
    assert upright.shape[1:3] == (64, 48)
    assert psnr(decode_all(encoded), upright) > 36, "stored upright: a plain decode shows it so"


def test_reencode__leaves_the_sound_out() -> None:
    video = encode_as(moving_frames(25), "yuv420p", with_audio=True)
    with av.open(io.BytesIO(video)) as container:
        assert len(container.streams.audio) == 1
    with av.open(io.BytesIO(reencode(video, Reencoding(), where="here"))) as container:
        assert [stream.type for stream in container.streams] == ["video"]


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(25, 2), Fraction(15)])
def test_reencode__keeps_the_rate(rate: Fraction) -> None:
    video = encode_as(moving_frames(20), "yuv420p", rate)
    with av.open(io.BytesIO(reencode(video, Reencoding(), where="here"))) as container:
        assert container.streams.video[0].average_rate == rate


@pytest.mark.parametrize(
    "wrong", [{"short_side": 129}, {"short_side": 8}, {"keyframe_interval": 0}, {"crf": 52}]
)
def test_reencoding__refuses_what_h264_cannot_do(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong)).replace("_", "-")):
        Reencoding(**wrong)


def test_pack__reencoded_sets_are_the_same_for_any_number_of_processes(
    class_folders: Path, tmp_path: Path
) -> None:
    reencoding = Reencoding(short_side=16, keyframe_interval=4)
    for processes in (1, 2):
        options = PackOptions(shard_max_videos=8, reencoding=reencoding, processes=processes)
        pack(open_source(class_folders), tmp_path / str(processes), options, lambda _: None)
    first, second = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("1", "2")
    )
    assert first == second
    packed = json.loads(first["dataset.json"])["packed"]["reencoding"]
    assert {**packed, "libavcodec": ""} == {
        "short_side": 16, "keyframe_interval": 4, "crf": 23, "codec": "libx264", "libavcodec": "",
    }  # fmt: skip


def test_pack__other_containers_become_mp4(clip: bytes, tmp_path: Path) -> None:
    files = {
        "a/1.avi": encode(moving_frames(9), container="avi", codec="mpeg4"),
        "a/2.mp4": clip,
        "b/3.mp4": b"",
    }
    source = open_source(write_tree(tmp_path / "source", files))
    summary = pack(source, tmp_path / "packed", PackOptions(reencoding=Reencoding()), lambda _: None)
    assert (summary.num_videos, summary.num_frames) == (2, 39)
    assert [fault.cause for fault in summary.faults] == ["empty"]


def source_video(folder: Path, content: bytes) -> SourceVideo:
    return SourceVideo(write_tree(folder, {"a.mp4": content}) / "a.mp4", "a.mp4", -1)


def test_probe_source__a_lost_frame_is_a_fault(
    clip: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorter = encode(moving_frames(29))
    monkeypatch.setattr(probing, "reencode", lambda *_, **__: shorter)
    result = probing.probe_source(source_video(tmp_path, clip), Reencoding())
    assert isinstance(result, probing.FaultyVideo)
    assert "29 of 30 frames after encoding" in result.detail


def test_probe_source__damage_of_the_source_stays_on_the_account(
    clip: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def probe(video: bytes, *, where: str) -> VideoFacts:
        return replace(probe_video(video, where=where), num_damaged_frames=3 if video == clip else 0)

    monkeypatch.setattr(probing, "probe_video", probe)
    result = probing.probe_source(source_video(tmp_path, clip), Reencoding())
    assert isinstance(result, probing.ProbedVideo)
    assert (result.facts.num_damaged_frames, result.extension) == (3, "mp4")


ZOO = Path(__file__).parents[2] / "../shared/data/zoo"


@pytest.mark.slow
@pytest.mark.skipif(not ZOO.is_dir(), reason="the odd files are not here")
def test_pack__odd_files_have_the_same_faults_encoded_or_not(tmp_path: Path) -> None:
    source = open_source(ZOO)
    kept = pack(source, tmp_path / "kept", PackOptions(), lambda _: None)
    encoding = PackOptions(reencoding=Reencoding(short_side=128))
    encoded = pack(source, tmp_path / "encoded", encoding, lambda _: None)
    assert [fault.name for fault in encoded.faults] == [fault.name for fault in kept.faults]
    assert (encoded.num_videos, encoded.num_frames) == (kept.num_videos, kept.num_frames)


def test_reencode__the_same_bytes_whatever_was_encoded_before(tmp_path: Path) -> None:
    """x264 must not decide by what memory held before: other sizes in between leave other things there."""
    files = generate_motion_videos(tmp_path / "videos", num_videos=20, seed=0)
    videos = [file.read_bytes() for file in files]
    wanted, between = (Reencoding(short_side=side, keyframe_interval=side // 4) for side in (32, 48))
    found = [set[bytes]() for _ in videos]
    for _ in range(3):
        for video, encodings in zip(videos, found, strict=True):
            reencode(video, between, where="here")
            encodings.add(reencode(video, wanted, where="here"))
    assert [len(encodings) for encodings in found] == [1] * len(videos)
