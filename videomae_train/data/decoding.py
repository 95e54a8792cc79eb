"""Decoding: the one function in front of the decoder, and the probe that packing uses.

Frames are numbered in presentation order, as a decoder that reads the whole file puts them out. Nothing here
counts on a constant frame rate: a frame is found by its own time stamp, or by counting from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from videomae_train.data.container import (
    DECODER_ERRORS,
    VideoPacket,
    check_one_size,
    check_whole,
    decode_packets,
    opened,
    presentation_stamps,
    quarter_turns,
    read_packets,
    typed_errors,
    upright_pixels,
    upright_size,
)
from videomae_train.errors import DecodeCause, DecodeError


@dataclass(frozen=True)
class VideoFacts:
    """What decoding a whole video showed.

    Attributes:
        num_frames: Frames that the decoder really put out.
        fps: Average frames per second that the file states, 0.0 if none.
        duration_sec: Stated duration of the stream, else of the file, else num_frames / fps, else 0.0.
        height: Pixels, after rotation.
        width: Pixels, after rotation.
        codec: FFmpeg's name of the decoder, such as "h264".
        keyframe_interval: Most frames from one keyframe to the next; a random window decodes half of it in vain.
        num_damaged_frames: Frames that the decoder put out but flagged as damaged.
        irregular_gap_ratio: Share of the gaps between neighbouring frames that differ from the median one by more
            than a quarter and by more than one tick of the file's clock; 0.0 where stamps tell nothing.
        is_seekable: The stamps name every frame once, so that a window is decoded from the keyframe before it;
            else from the file's beginning.
        pixel_format: FFmpeg's name, such as "yuv420p" or "yuv420p10le".
        rotation_deg: Clockwise turn that the file asks players for: 0, 90, 180 or 270; decoding applies it.
        has_audio: There is an audio stream beside the pictures.
    """

    num_frames: int
    fps: float
    duration_sec: float
    height: int
    width: int
    codec: str
    keyframe_interval: int
    num_damaged_frames: int
    irregular_gap_ratio: float
    is_seekable: bool
    pixel_format: str
    rotation_deg: int
    has_audio: bool


def decode_frames(
    video: bytes, indices: Sequence[int] | np.ndarray, *, where: str, num_frames: int | None = None
) -> np.ndarray:
    """Decode exactly the frames asked for.

    With `num_frames` known, decoding starts at the keyframe before the first wanted frame and picks frames by
    their time stamps. Where the stamps do not name every frame once, and without `num_frames`, it starts at
    the file's beginning and counts. Both give the same pixels.

    Args:
        video: The file's content.
        indices: Frame numbers in presentation order, from 0; any order, repeated ones allowed, at least one.
        where: Shard and key, or path: the place that an error names.
        num_frames: The number of frames that `probe_video` counted.

    Returns:
        uint8 (n, H, W, 3), RGB 0..255, turned upright; n = len(indices), in their order.

    Raises:
        DecodeError: There is no such frame or no video at all; the cause says which.
        ValueError: No index, or a negative one.
    """
    wanted, places = np.unique(np.asarray(indices, dtype=np.int64), return_inverse=True)
    if len(wanted) == 0 or wanted[0] < 0:
        raise ValueError(f"{where}: frame numbers must be one or more, none negative, got {list(indices)}")
    with typed_errors(video, where):
        frames = None if num_frames is None else _pick_by_stamp(video, wanted, num_frames)
        if frames is None:
            frames = _pick_by_count(video, wanted, where)
        check_one_size(map(upright_size, frames), where)
        converter = VideoReformatter()
        pixels = [upright_pixels(frame, converter) for frame in frames]
        return np.stack([pixels[place] for place in places.tolist()])


def probe_video(
    video: bytes, *, where: str, on_frame: Callable[[VideoFrame], None] | None = None
) -> VideoFacts:
    """Decode a video from beginning to end and say what it is.

    Args:
        video: The file's content.
        where: The place that an error names.
        on_frame: Is shown each frame in presentation order, for measures that need the pictures.

    Raises:
        DecodeError: It is not wholly decodable; the cause says why.
    """
    with typed_errors(video, where), opened(video) as (container, stream):
        packets = read_packets(container, stream)
        check_whole(container, stream, packets, where)
        tally = _Tally()
        for frame in decode_packets(stream, packets):
            tally.add(frame)
            if on_frame is not None:
                on_frame(frame)
        if tally.num_frames == 0:
            came = f"{len(packets)} packets, no frame"
            raise DecodeError(where=where, cause=DecodeCause.ZERO_FRAMES, came=came)
        check_one_size(tally.sizes, where)
        return _facts(container, stream, packets, tally)


@dataclass
class _Tally:
    """What is kept of the frames that went by."""

    num_frames: int = 0
    num_damaged: int = 0
    rotation_deg: int = 0
    sizes: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])

    def add(self, frame: VideoFrame) -> None:
        self.num_frames += 1
        self.num_damaged += bool(frame.is_corrupt)
        self.rotation_deg = 90 * (-quarter_turns(frame) % 4)
        self.sizes.add(upright_size(frame))


def _facts(
    container: InputContainer, stream: VideoStream, packets: Sequence[VideoPacket], tally: _Tally
) -> VideoFacts:
    fps = float(stream.average_rate or 0)
    stamps = presentation_stamps(container, stream, packets)
    ((height, width),) = tally.sizes
    return VideoFacts(
        num_frames=tally.num_frames,
        fps=fps,
        duration_sec=_duration_sec(container, stream) or (tally.num_frames / fps if fps else 0.0),
        height=height,
        width=width,
        codec=stream.codec_context.name,
        keyframe_interval=_keyframe_interval(packets),
        num_damaged_frames=tally.num_damaged,
        irregular_gap_ratio=_irregular_gap_ratio(stamps or []),
        is_seekable=stamps is not None and len(stamps) == tally.num_frames,
        pixel_format=stream.codec_context.pix_fmt or "",
        rotation_deg=tally.rotation_deg,
        has_audio=bool(container.streams.audio),
    )


def _irregular_gap_ratio(stamps: Sequence[int]) -> float:
    """Compare gaps with the median one; a clock too coarse for the rate makes them differ by one tick."""
    gaps = np.diff(stamps)
    if len(gaps) == 0:
        return 0.0
    median = np.median(gaps)
    return float(np.mean(np.abs(gaps - median) > max(1.0, median / 4)))


def _pick_by_count(video: bytes, wanted: np.ndarray, where: str) -> list[VideoFrame]:
    """Decode from the start and keep the wanted frames."""
    numbers, last = set(wanted.tolist()), int(wanted[-1])
    picked: list[VideoFrame] = []
    count = 0
    with opened(video) as (container, stream):
        for number, frame in enumerate(decode_packets(stream, read_packets(container, stream))):
            count = number + 1
            if number in numbers:
                picked.append(frame)
            if number == last:
                return picked
    cause = DecodeCause.TRUNCATED if count else DecodeCause.ZERO_FRAMES
    raise DecodeError(where=where, cause=cause, came=f"frame {last} was asked for, the video has {count}")


def _pick_by_stamp(video: bytes, wanted: np.ndarray, num_frames: int) -> list[VideoFrame] | None:
    """Decode from the keyframe before the first wanted frame; None if the stamps cannot be relied on."""
    with opened(video) as (container, stream):
        packets = read_packets(container, stream)
        stamps = presentation_stamps(container, stream, packets)
        if stamps is None or len(stamps) != num_frames or wanted[-1] >= num_frames:
            return None
        wanted_stamps = {stamps[number] for number in wanted.tolist()}
        try:
            frames = _decode_stamps(stream, _needed_runs(packets, wanted_stamps), wanted_stamps)
        except DECODER_ERRORS:
            return None
    return frames if len(frames) == len(wanted_stamps) else None


def _needed_runs(packets: list[VideoPacket], wanted: set[int]) -> list[list[VideoPacket]]:
    """Cut out the packets between the keyframe shown at or before a wanted stamp and the stamp's own packet.

    Runs that touch or overlap are one; between the others the decoder jumps, as it pays when keyframes are closer
    together than wanted frames.
    """
    keyframes = [(p.pts, place) for place, p in enumerate(packets) if p.is_keyframe and p.pts is not None]
    places = {packet.pts: place for place, packet in enumerate(packets)}
    runs: list[tuple[int, int]] = []
    for stamp in sorted(wanted):
        start = max((place for pts, place in keyframes if pts <= stamp), default=0)
        stop = places[stamp] + 1
        if runs and start <= runs[-1][1]:
            start, stop = runs[-1][0], max(stop, runs[-1][1])
            runs.pop()
        runs.append((start, stop))
    return [packets[start:stop] for start, stop in runs]


def _decode_stamps(
    stream: VideoStream, runs: Sequence[Sequence[VideoPacket]], wanted: set[int]
) -> list[VideoFrame]:
    """Decode run after run; fewer frames than wanted if the stamps turn out not to rise.

    Frames that no other refers to are decoded only if wanted: a quarter of the time of an ordinary H.264
    file.
    """
    picked: list[VideoFrame] = []
    latest: int | None = None
    for run in runs:
        for packet in [*run, None]:
            if packet is not None:
                stream.codec_context.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
            for frame in stream.decode(packet):
                if frame.pts is None or (latest is not None and frame.pts <= latest):
                    return []
                latest = frame.pts
                if latest in wanted:
                    picked.append(frame)
        stream.codec_context.flush_buffers()
    return picked


def _duration_sec(container: InputContainer, stream: VideoStream) -> float:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration is not None else 0.0


def _keyframe_interval(packets: Sequence[VideoPacket]) -> int:
    starts = [number for number, packet in enumerate(packets) if packet.is_keyframe]
    return int(np.diff([0, *starts, len(packets)]).max(initial=0))
