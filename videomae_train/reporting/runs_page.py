"""The page about runs: an overview where there are several, and a section for each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from videomae_train.reporting.classification import evaluation_parts, evaluation_remarks
from videomae_train.reporting.facts import EvaluationFacts, Point, TrainingFacts
from videomae_train.reporting.finding import Found
from videomae_train.reporting.overview import overview_sections
from videomae_train.reporting.parts import Part, Remark, Remarks, Report, Section, Text, Tone
from videomae_train.reporting.run_parts import training_parts, training_remarks
from videomae_train.reporting.wording import interval_text, loss_beside_baselines, progress_text, tone_of

_ORDER = ("error", "warning", "note")
_REMARKS_SHOWN = 40
_MOST_WITH_FRAMES = 12  # points; each may hold two dozen frames


def compose_report(
    found: Found,
    *,
    title: str,
    figures: Path,
    loops: Mapping[str, Path],
    data: str | None,
    notes: Sequence[str],
    now: datetime,
) -> Report:
    """Put a page about runs together, drawing its figures on the way.

    Args:
        found: What to report on.
        title: Of the page.
        figures: Folder that PNG files go to.
        loops: Point -> a moving reconstruction; the latest of its own where it is not named here.
        data: The packed set that frames of scored videos are taken from; None takes the one that each score names.
        notes: Further remarks.
        now: For the footer.
    """
    points = found.points
    loops = {**{point.name: loop for point in points if (loop := latest_loop(point))}, **loops}
    several = len(points) > 1
    notes = [*(f"{problem}." for problem in found.problems), *notes]
    remarks = _all_remarks(found, notes) if several else [Remark("note", note) for note in notes]
    sections = [
        *(Section("What the verdict stands on", tuple(map(Text, each.reasons))) for each in found.verdicts),
        Section("Findings", (Remarks(tuple(remarks)),) if remarks else ()),
    ]
    if several:
        sections += overview_sections(points, figures, loops)
        sections.append(Section("Single runs", (Text(_about_single_runs(points)),)))
    with_frames = _with_frames(points)
    for point in points:
        has_frames = point.name in with_frames
        sections += _point_sections(point, figures, data, fold=several, has_frames=has_frames)
    stamp = now.astimezone().strftime("%Y-%m-%d %H:%M %Z")
    footer = f"Written by `videomae report`, videomae-train {version('videomae-train')}, {stamp}."
    return Report(title, tuple(summary_of(found)), tuple(sections), footer)


def _about_single_runs(points: Sequence[Point]) -> str:
    words = "A click opens a run: its curves, scores and videos."
    if len(points) <= _MOST_WITH_FRAMES:
        return words
    return (
        f"{words} Of more than {_MOST_WITH_FRAMES} runs, only those of the highest and the lowest score show frames of"
        " videos; the page about one run shows its own."
    )


def _with_frames(points: Sequence[Point]) -> set[str]:
    """Name the points whose videos are shown by frames, which would else make the page of a large sweep too large."""
    if len(points) <= _MOST_WITH_FRAMES:
        return {point.name for point in points}
    scored = sorted((point.evaluation.top1, point.name) for point in points if point.evaluation is not None)
    return {name for _, name in (*scored[:1], *scored[-1:])}


def latest_loop(point: Point) -> Path | None:
    """Find the last moving reconstruction that a point's pretraining made."""
    loops = point.pretraining.loops if point.pretraining else {}
    return loops[max(loops)] if loops else None


def summary_of(found: Found) -> list[str]:
    """Say what came out, a sweep's own verdict first."""
    return [*(verdict.words for verdict in found.verdicts), *summary_sentences(found.points)]


def summary_sentences(points: Sequence[Point]) -> list[str]:
    """Say what came out."""
    if len(points) == 1:
        return _sentences_of(points[0])
    counts = Counter(point.state[1] for point in points)
    first = (
        f"{len(points)} runs: " + ", ".join(f"{count} {state}" for state, count in counts.most_common()) + "."
    )
    scored = [(point.name, point.evaluation) for point in points if point.evaluation is not None]
    if not scored:
        return [first, "None of them has a score yet."]
    return [first, *_best(scored)]


def _best(scored: Sequence[tuple[str, EvaluationFacts]]) -> list[str]:
    if len({(score.fingerprint or score.data, score.selection, score.num_videos) for _, score in scored}) > 1:
        return ["Their scores are on different videos, and cannot be ranked."]
    (name, best), *others = sorted(scored, key=lambda item: -item[1].top1)
    sentence = f"The highest score is {_score_in_words(best)}, of {name}."
    near = sum(other.interval[1] >= best.interval[0] for _, other in others)
    if not near:
        return [sentence]
    return [
        sentence,
        f"{near} of the {len(others)} other intervals overlap with its own: this alone does not make it the best.",
    ]


def _sentences_of(point: Point) -> list[str]:
    sentences: list[str] = []
    if point.evaluation is not None:
        sentences.append(f"Top-1 {_score_in_words(point.evaluation)}.")
    sentences += [f"{verb} failed: {reason}." for verb, reason in point.failures.items()]
    for stage in reversed(point.trainings):
        state = stage.state.words.splitlines()[0]
        sentences.append(
            f"{stage.verb}, {progress_text(stage)} steps: {state}. Loss {loss_beside_baselines(stage)}."
        )
    return sentences or ["Nothing is there yet."]


def _score_in_words(score: EvaluationFacts) -> str:
    interval = interval_text(score.interval) + score.of_recordings
    seen = f", by weights {score.remarks}" if score.remarks else ""
    return (
        f"{score.top1:.3f} (95 % interval {interval}, on {score.standing} videos of {score.selection}{seen})"
    )


def _all_remarks(found: Found, notes: Sequence[str]) -> list[Remark]:
    """Gather what a reader should know of all points, a run that several share once, the worst first."""
    remarks: list[Remark] = [Remark("note", note) for note in notes]
    told: set[Path] = set()
    for point in found.points:
        for stage in point.trainings:
            if stage.folder.resolve() not in told:
                told.add(stage.folder.resolve())
                remarks += training_remarks(stage, f"{point.name}, {stage.verb}")
        if point.evaluation is not None:
            remarks += evaluation_remarks(point.evaluation, point.name)
        remarks += _failures(point, f"{point.name}, ")
        if not point.is_waiting:
            remarks += [Remark("note", f"{point.name}: {problem}.") for problem in point.problems]
    if waiting := tuple(point.name for point in found.points if point.is_waiting):
        remarks.append(Remark("note", f"Points that have not begun: {len(waiting)}.", "", waiting))
    if found.passed_by:
        names = tuple(str(folder) for folder in found.passed_by)
        remarks.append(Remark("note", "Folders beside the runs that hold no run were passed by.", "", names))
    remarks.sort(key=lambda remark: _ORDER.index(remark.kind))
    more = len(remarks) - _REMARKS_SHOWN
    cut = [Remark("note", f"{more} further remarks stand with their runs below.")] if more > 0 else []
    return [*remarks[:_REMARKS_SHOWN], *cut]


def _failures(point: Point, lead: str = "") -> list[Remark]:
    return [Remark("error", f"{lead}{verb}: failed: {reason}") for verb, reason in point.failures.items()]


def _point_sections(
    point: Point, figures: Path, data: str | None, *, fold: bool, has_frames: bool
) -> list[Section]:
    """Show a point: as one folded section among several points, as a section for each stage where it is alone."""
    stages = [(stage.verb, _stage_parts(point, stage, figures, fold=fold)) for stage in point.trainings]
    scores: list[Part] = []
    if point.evaluation is not None:
        stem = file_stem(f"{point.name}-evaluate")
        scores = evaluation_parts(point.evaluation, figures, stem, data, has_frames=has_frames)
    problems = [*_failures(point), *(Remark("note", f"{problem}.") for problem in point.problems)]
    first: list[Part] = [Remarks(tuple(problems))] if problems else []
    if not fold:
        of_stages = [
            Section(verb.capitalize(), tuple(parts), note=stage.state.name, tone=tone_of(stage.state.name))
            for (verb, parts), stage in zip(stages, point.trainings, strict=True)
        ]
        return [Section("Missing", tuple(first)), Section("Evaluation", tuple(scores)), *of_stages]
    parts = [*first, *scores, *(part for _, parts in stages for part in parts)]
    return [Section(point.name, tuple(parts), True, *_note(point))]


def _note(point: Point) -> tuple[str, Tone]:
    score = "" if point.evaluation is None else f", top-1 {point.evaluation.top1:.3f}"
    _, state = point.state
    return f"{state}{score}", tone_of(state)


def _stage_parts(point: Point, stage: TrainingFacts, figures: Path, *, fold: bool) -> list[Part]:
    return training_parts(stage, figures, file_stem(f"{point.name}-{stage.verb}"), has_loops=not fold)


def file_stem(name: str) -> str:
    """Make a name of a run into one of a file.

    >>> file_stem("a/masking.ratio-0.75+seed-0")
    'a_masking.ratio-0.75+seed-0'
    """
    return re.sub(r"[^\w.+-]", "_", name)
