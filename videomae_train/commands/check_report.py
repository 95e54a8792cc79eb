"""What `videomae check` writes: the words, the page and the JSON file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from videomae_train.data.health import ClipShape, Finding, SetStatistics, Severity, Spread, measure_set
from videomae_train.data.health.statistics import duration_sec
from videomae_train.data.inspection import InspectedSet, InspectedVideo
from videomae_train.data.layout import write_json
from videomae_train.pictures import Histogram, count_bars, histogram_panels
from videomae_train.reporting import (
    Figure,
    Remark,
    Remarks,
    Report,
    Section,
    Setting,
    Settings,
    Table,
    write_report,
)

_FORMAT = 1
_KINDS_SHOWN = 6
_NAMES_ON_PAGE = 200


def verdict(findings: list[Finding]) -> str:
    """Say in one sentence whether the set can be trained on."""
    counts = Counter(finding.severity for finding in findings)
    errors, warnings = counts[Severity.ERROR], counts[Severity.WARNING]
    if errors:
        return f"This set cannot be trained on as it is: {errors} error(s), {warnings} warning(s)."
    return f"This set can be trained on: no error, {warnings} warning(s)."


def describe(numbers: SetStatistics) -> dict[str, str]:
    """Put the statistics into a table of words, the same on the terminal and on the page."""
    rows = {
        "videos": f"{numbers.num_videos}, {numbers.num_faults} of them with a fault",
        "in all": f"{_duration_text(numbers.duration_sec)}, {numbers.num_frames} frames, "
        f"{numbers.num_bytes / 1e6:.1f} MB",
        "duration (s)": _spread_text(numbers.durations_sec),
        "frames": _spread_text(numbers.frames),
        "frames per second": _counts_text(numbers.rates),
        "variable rate": f"{numbers.num_variable}" if numbers.codecs else "",
        "size (width x height)": _counts_text(numbers.sizes),
        "short side": _spread_text(numbers.short_sides),
        "codec": _counts_text(numbers.codecs),
        "pixel format": _counts_text(numbers.pixel_formats),
        "keyframe interval": _spread_text(numbers.keyframe_intervals),
        "frames decoded in vain": _spread_text(numbers.frames_in_vain),
        "rotation (degrees)": _counts_text(numbers.rotations),
        "with sound": f"{numbers.num_audio}" if numbers.codecs else "",
        "classes": _classes_text(numbers.classes),
        "splits": ", ".join(f"{part} {count}" for part, count in numbers.parts.items()),
    }
    return {name: text for name, text in rows.items() if text}


def _duration_text(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds:.0f} s"


def _spread_text(spread: Spread | None) -> str:
    """Write a spread: the two ends, and the middle between them."""
    if spread is None:
        return ""
    if spread.low == spread.high:
        return f"all {spread.low:.4g}"
    return f"{spread.low:.4g} to {spread.high:.4g}, half of them up to {spread.median:.4g}"


def _counts_text(counts: Mapping[str, int]) -> str:
    shown = [f"{name} ({count})" for name, count in list(counts.items())[:_KINDS_SHOWN]]
    rest = len(counts) - _KINDS_SHOWN
    return ", ".join(shown) + (f" and {rest} others" if rest > 0 else "")


def _classes_text(classes: Mapping[str, int]) -> str:
    if not classes:
        return "none"
    return f"{len(classes)}, from {min(classes.values())} to {max(classes.values())} videos"


def write_check_json(file: Path, inspected: InspectedSet, findings: list[Finding], clip: ClipShape) -> None:
    """Write findings, statistics and every video's facts, for programs."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "format": _FORMAT,
        "set": inspected.name,
        "is_packed": inspected.is_packed,
        "is_decoded": inspected.is_decoded,
        "can_be_trained_on": all(finding.severity != Severity.ERROR for finding in findings),
        "clip": asdict(clip),
        "findings": [asdict(finding) for finding in findings],
        "statistics": asdict(measure_set(inspected)),
        "videos": [_video_record(video, inspected.classes) for video in inspected.videos],
    }
    write_json(file, content)


def _video_record(video: InspectedVideo, classes: tuple[str, ...]) -> dict[str, object]:
    record: dict[str, object] = {
        "name": video.name,
        "class": classes[video.label] if video.label >= 0 else None,
        "splits": dict(video.splits),
        "num_bytes": video.num_bytes,
        "checksum": video.checksum.hex(),
        "cause": video.cause or None,
        "detail": video.detail or None,
    }
    if video.facts is not None:
        return record | asdict(video.facts) | {"still_ratio": round(video.still_ratio, 4)}
    shape = {"num_frames": video.num_frames, "fps": video.fps, "height": video.height, "width": video.width}
    return record | shape if video.num_frames else record


def write_check_page(page: Path, inspected: InspectedSet, findings: list[Finding], clip: ClipShape) -> None:
    """Write the page: findings, numbers, pictures, faults."""
    numbers = measure_set(inspected)
    remarks = tuple(_remark(finding) for finding in findings)
    with TemporaryDirectory() as folder:
        report = Report(
            title=f"Check of {Path(inspected.name).resolve().name}",
            summary=(verdict(findings), *_summary(inspected, numbers)),
            sections=(
                Section("Findings", (Remarks(remarks),) if remarks else ()),
                *_tables(inspected, numbers),
                Section("Pictures", tuple(_figures(inspected, numbers, clip, Path(folder)))),
                Section("Settings", (Settings(_settings(inspected, clip)),)),
            ),
            footer=f"Written by `videomae check`, videomae-train {version('videomae-train')}.",
        )
        write_report(page, report)


def _summary(inspected: InspectedSet, numbers: SetStatistics) -> list[str]:
    kind = "A packed set" if inspected.is_packed else "Files that are not packed yet"
    looked = "decoded to the end" if inspected.is_decoded else "read but not decoded (--quick)"
    return [f"{kind}: {numbers.num_videos} videos in {len(inspected.classes)} classes; each was {looked}."]


def _remark(finding: Finding) -> Remark:
    kind = finding.severity.value
    more = len(finding.videos) - _NAMES_ON_PAGE
    details = (*finding.videos[:_NAMES_ON_PAGE], *([f"... and {more} more"] if more > 0 else []))
    return Remark(kind, finding.text, finding.todo, details)


def _tables(inspected: InspectedSet, numbers: SetStatistics) -> list[Section]:
    tables = [Section("What is in it", (Table(("", ""), tuple(describe(numbers).items())),))]
    faulty = [video for video in inspected.videos if video.cause]
    if faulty:
        rows = tuple((video.name, video.cause, video.detail) for video in faulty[:_NAMES_ON_PAGE])
        caption = f"The first {_NAMES_ON_PAGE} of {len(faulty)}; all are in the JSON file." * (
            len(faulty) > _NAMES_ON_PAGE
        )
        tables.append(Section("Faults", (Table(("Video", "Cause", "Message"), rows, caption),)))
    return tables


def _figures(inspected: InspectedSet, numbers: SetStatistics, clip: ClipShape, folder: Path) -> list[Figure]:
    figures: list[Figure] = []
    panels = [panel for panel in _panels(inspected, clip) if len(panel.values)]
    if panels:
        histogram_panels(folder / "spread.png", panels)
        caption = (
            f"Dashed: what a clip of {clip.num_frames} frames at stride {clip.stride} and {clip.size} pixels needs. "
            "Videos to the left of it repeat their last frame, or are enlarged."
        )
        figures.append(Figure("Lengths, rates and sizes", caption, (folder / "spread.png").read_bytes()))
    if numbers.classes:
        count_bars(folder / "classes.png", numbers.classes, ylabel="classes")
        caption = "Readable videos of each class."
        figures.append(Figure("Balance of the classes", caption, (folder / "classes.png").read_bytes()))
    return figures


def _panels(inspected: InspectedSet, clip: ClipShape) -> list[Histogram]:
    sized = [video for video in inspected.usable if video.num_frames]
    decoded = [(video, video.facts) for video in sized if video.facts]
    sides = [min(video.height, video.width) for video in sized]
    return [
        Histogram("duration (s)", [duration_sec(video) for video in sized if duration_sec(video)]),
        Histogram("frames", [video.num_frames for video in sized], clip.span, f"clip: {clip.span}"),
        Histogram("frames per second", [video.fps for video in sized if video.fps]),
        Histogram("short side (pixels)", sides, clip.size, f"clip: {clip.size}"),
        Histogram("keyframe interval (frames)", [facts.keyframe_interval for _, facts in decoded]),
        Histogram("share of frames that stand still", [video.still_ratio for video, _ in decoded]),
    ]


def _settings(inspected: InspectedSet, clip: ClipShape) -> tuple[Setting, ...]:
    return (
        Setting("set", inspected.name),
        Setting("num_frames", f"{clip.num_frames}"),
        Setting("stride", f"{clip.stride}"),
        Setting("image_size", f"{clip.size}"),
    )
