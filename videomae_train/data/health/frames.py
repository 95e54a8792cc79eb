"""Findings about lengths, rates, sizes and keyframes, with what they do to the clips of a run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from videomae_train.data.health.findings import ClipShape, Finding, Severity, names_of, share_of
from videomae_train.data.inspection import InspectedSet, InspectedVideo

# From these shares of the videos on a finding is a warning; one odd video is a note.
_MANY = 0.05
_STILL_RATIO = 0.9
_IRREGULAR_RATIO = 0.05
_FPS_TOLERANCE = 0.1
# An ordinary decoder spends half of its frames in vain when the keyframe interval is twice the clip's span.
_WASTE_RATIO = 1 / 3


def _severity(part: int, whole: int) -> Severity:
    return Severity.WARNING if part > _MANY * whole else Severity.NOTE


def find_short_videos(inspected: InspectedSet, clip: ClipShape) -> Iterator[Finding]:
    """Name videos that a clip does not fit into, and sets without any motion."""
    usable = inspected.usable
    known = [video for video in usable if video.num_frames]
    if known and max(video.num_frames for video in known) < 2:
        yield Finding(
            "single-frames",
            Severity.ERROR,
            f"No video has more than one frame: there is no motion in {len(known)} videos.",
            "Check that these are the right files.",
        )
        return
    short = [video for video in known if video.num_frames < clip.span]
    if short:
        yield Finding(
            "short-videos",
            _severity(len(short), len(known)),
            f"{share_of(len(short), len(known))} are shorter than a clip of {clip.num_frames} frames at stride "
            f"{clip.stride} ({clip.span} frames): their last frame is repeated to fill it. The shortest has "
            f"{min(video.num_frames for video in short)}.",
            "Use a smaller data.stride, fewer frames, or leave the shortest ones out.",
            names_of(short),
        )


def find_still_videos(inspected: InspectedSet) -> Iterator[Finding]:
    """Name videos in which nothing moves: the next frame is the answer to every mask."""
    decoded = [video for video in inspected.usable if video.facts]
    still = [video for video in decoded if video.still_ratio >= _STILL_RATIO]
    if still:
        yield Finding(
            "still-videos",
            _severity(len(still), len(decoded)),
            f"In {share_of(len(still), len(decoded))} at least nine of ten frames show what the one before shows: "
            "there is no motion to learn from.",
            "Leave slide shows and stills out of a set for pretraining.",
            names_of(still),
        )


def find_rates(inspected: InspectedSet) -> Iterator[Finding]:
    """Name variable rates, and rates far from the common one: a stride in frames then means other times."""
    usable = inspected.usable
    variable = [
        video for video in usable if video.facts and video.facts.irregular_gap_ratio > _IRREGULAR_RATIO
    ]
    if variable:
        yield Finding(
            "variable-rates",
            _severity(len(variable), len(usable)),
            f"{share_of(len(variable), len(usable))} have a variable frame rate: frames of a clip are not equally far "
            "apart in time.",
            "Frames are still found exactly. For even times, re-encode at a constant rate before packing.",
            names_of(variable),
        )
    stated = [video for video in usable if video.fps > 0]
    common = float(np.median([video.fps for video in stated])) if stated else 0.0
    odd = [video for video in stated if abs(video.fps - common) > _FPS_TOLERANCE * common]
    if odd:
        slowest, fastest = min(video.fps for video in stated), max(video.fps for video in stated)
        yield Finding(
            "mixed-rates",
            _severity(len(odd), len(stated)),
            f"{share_of(len(odd), len(stated))} differ by more than 10 % from the common {common:.4g} frames/s "
            f"(from {slowest:.4g} to {fastest:.4g}): the same stride means other times.",
            "Bring the videos to one rate before packing if their speed matters.",
            names_of(odd),
        )


def find_sizes(inspected: InspectedSet, clip: ClipShape) -> Iterator[Finding]:
    """Name pictures that have to be enlarged, and sets that are decoded much larger than used."""
    known = [video for video in inspected.usable if video.height and video.width]
    small = [video for video in known if min(video.height, video.width) < clip.size]
    if small:
        smallest = min(small, key=_short_side)
        yield Finding(
            "small-pictures",
            _severity(len(small), len(known)),
            f"{share_of(len(small), len(known))} have a short side below {clip.size} pixels and are enlarged "
            f"(the smallest is {smallest.height}x{smallest.width}).",
            "Expect blurred input; a smaller model.image_size is cheaper and loses nothing.",
            names_of(small),
        )
    middle = float(np.median([_short_side(video) for video in known])) if known else 0.0
    if middle >= 2 * clip.size:
        yield Finding(
            "large-pictures",
            Severity.WARNING,
            f"Half of the videos have a short side of {middle:.0f} pixels or more; clips of {clip.size} use a "
            "fraction of what is decoded.",
            "Pack with --short-side 256: decoding gets several times faster.",
        )


def _short_side(video: InspectedVideo) -> int:
    return min(video.height, video.width)


def find_decoding_cost(inspected: InspectedSet, clip: ClipShape) -> Iterator[Finding]:
    """Say how much of the decoding is in vain: a window is decoded from the keyframe before it."""
    decoded = [video for video in inspected.usable if video.facts]
    counted = [video for video in decoded if video.facts and not video.facts.is_seekable]
    if counted:
        yield Finding(
            "no-time-stamps",
            _severity(len(counted), len(decoded)),
            f"In {share_of(len(counted), len(decoded))} the time stamps do not name every frame once: each window is "
            "decoded from the file's first frame.",
            "Pack with --keyframe-interval 16.",
            names_of(counted),
        )
    wasted, needed = sum(map(frames_in_vain, decoded)), sum(min(clip.span, v.num_frames) for v in decoded)
    if wasted > _WASTE_RATIO * (wasted + needed):
        yield Finding(
            "keyframes",
            Severity.WARNING,
            f"Sparse keyframes: about {100 * wasted / (wasted + needed):.0f} % of the frames that random windows "
            "decode are decoded in vain.",
            "Pack with --keyframe-interval 16 (and --short-side 256).",
        )


def frames_in_vain(video: InspectedVideo) -> float:
    """Estimate the frames decoded before a random window begins: half a keyframe interval, at most half the video."""
    if video.facts is None:
        return 0.0
    interval = video.facts.keyframe_interval if video.facts.is_seekable else video.num_frames
    return min(interval, video.num_frames) / 2


def find_odd_formats(inspected: InspectedSet) -> Iterator[Finding]:
    """Note what decoding takes care of, so that nobody has to look for it."""
    facts = [(video, video.facts) for video in inspected.usable if video.facts]
    turned = [video for video, fact in facts if fact.rotation_deg]
    if turned:
        yield Finding(
            "rotated",
            Severity.NOTE,
            f"{share_of(len(turned), len(facts))} are stored turned; they are decoded upright.",
            videos=names_of(turned),
        )
    deep = [
        video for video, fact in facts if any(bits in fact.pixel_format for bits in ("p10", "p12", "p16"))
    ]
    if deep:
        yield Finding(
            "deep-colour",
            Severity.NOTE,
            f"{share_of(len(deep), len(facts))} have more than 8 bits per colour; they are decoded to 8.",
            videos=names_of(deep),
        )
