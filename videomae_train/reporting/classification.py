"""The parts of a page that show a score: which classes, which confusions, which videos."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from videomae_train.pictures import confusion_picture
from videomae_train.reporting.facts import ConfusedPair, EvaluationFacts, VideoPredictions
from videomae_train.reporting.frames import MiddleFrames
from videomae_train.reporting.parts import (
    Cell,
    Figure,
    Gallery,
    Part,
    Remark,
    Remarks,
    Score,
    Scores,
    Table,
    Text,
)
from videomae_train.reporting.wording import number

_PAIRS, _NAMED, _PICTURED, _HARDEST = 6, 4, 2, 12
_THUMBNAIL = 150  # pixels


def evaluation_parts(
    facts: EvaluationFacts, figures: Path, stem: str, data: str | None, *, has_frames: bool = True
) -> list[Part]:
    """Show a score: with its conditions, by class, by confusion, and the videos it went wrong on.

    Args:
        facts: Of the score.
        figures: Folder that PNG files go to.
        stem: What their names begin with.
        data: The packed set that single frames are taken from, instead of the one the score names.
        has_frames: Whether there are single frames at all; the page holds them, and they are large.
    """
    remarks = evaluation_remarks(facts)
    parts: list[Part] = [Remarks(tuple(remarks))] if remarks else []
    parts.append(Scores(tuple(_scores(facts))))
    if facts.confusion_matrix.sum():
        path = figures / f"{stem}-confusion.png"
        names = [row.name for row in facts.classes]
        confusion_picture(path, facts.confusion_matrix, names)
        caption = "Rows: the videos' classes. Columns: the classes they were given. Numbers are videos."
        parts.append(Figure("Confusion matrix", caption, path, _matrix_in_words(facts)))
    if facts.classes:
        parts.append(_classes(facts))
    if facts.predictions is not None:
        place, is_asked_for = data or facts.data, data is not None
        frames = MiddleFrames(place, facts.predictions, may_fetch=is_asked_for) if has_frames else None
        parts += _videos(facts, facts.predictions, frames)
    return parts


def evaluation_remarks(facts: EvaluationFacts, name: str = "") -> list[Remark]:
    """Say what a score does not stand on, and what is missing."""
    lead = f"{name}: " if name else ""
    remarks = [Remark("note", f"{lead}the evaluation {problem}.") for problem in facts.problems]
    if facts.faults:
        names = tuple(f"{fault.key}: {fault.cause} ({fault.detail})" for fault in facts.faults)
        text = f"{lead}the score is on {facts.standing} videos; the others could not be read and count as nothing."
        remarks.insert(0, Remark("warning", text, "", names))
    if facts.remarks:
        remarks.insert(0, Remark("warning", f"{lead}beware, the score is of weights {facts.remarks}."))
    return remarks


def _scores(facts: EvaluationFacts) -> list[Score]:
    conditions = f"{facts.selection}, {facts.views} views, on {facts.standing} videos"
    interval = facts.interval if np.isfinite(facts.interval).all() else None
    over = f"; interval{facts.of_recordings}" if facts.num_recordings is not None else ""
    rows = [Score("top-1", facts.top1, interval, conditions + over)]
    if facts.top5 is not None:
        rows.append(Score("top-5", facts.top5, None, conditions))
    if facts.mean_class is not None:
        rows.append(Score("mean over classes", facts.mean_class, None, conditions))
    if len(facts.classes) > 1:
        rows.append(
            Score("chance", 1 / len(facts.classes), None, f"guessing one of {len(facts.classes)} classes")
        )
    return rows


def _matrix_in_words(facts: EvaluationFacts) -> str:
    worst = facts.confused[0] if facts.confused else None
    said = f"; most often {worst.label} is taken for {worst.taken_for}" if worst else ""
    return f"confusion matrix of {len(facts.classes)} classes{said}"


def _classes(facts: EvaluationFacts) -> Table:
    rows = tuple(
        (row.name, Cell(f"{row.num_videos}", row.num_videos, is_number=True), number(row.recall), number(row.precision))
        for row in facts.classes
    )  # fmt: skip
    caption = "Recall: share of the class's videos given this class. Precision: share of the videos given it that are."
    return Table(("Class", "Videos", "Recall", "Precision"), rows, caption, sorts=True)


def _videos(facts: EvaluationFacts, predictions: VideoPredictions, frames: MiddleFrames | None) -> list[Part]:
    hardest = np.argsort(predictions.of_right_class, kind="stable")[:_HARDEST].tolist()
    without = f"No pictures: {frames.problem}." if frames and frames.problem else ""
    pictured = None if without else frames
    parts: list[Part] = []
    pairs = facts.confused[:_PAIRS]
    if pairs:
        parts.append(_pairs(pairs, predictions, without))
        parts += [] if pictured is None else [_examples(pairs, predictions, pictured)]
    if pictured is None:
        return [*parts, _hardest_rows(predictions, hardest, without)]
    caption = "Hardest videos: the lowest probability of the right class. The middle frame of each; the model saw clips"
    return [*parts, _shown(predictions, pictured, hardest, caption)]


def _pairs(pairs: tuple[ConfusedPair, ...], predictions: VideoPredictions, without: str) -> Table:
    rows = tuple(
        (
            pair.label, pair.taken_for, Cell(f"{pair.num_videos}", pair.num_videos, is_number=True),
            Cell(f"{pair.share:.0%}", pair.share, is_number=True),
            ", ".join(predictions.keys[place] for place in _places_of(pair, predictions)),
        )
        for pair in pairs
    )  # fmt: skip
    columns = ("Class", "Taken for", "Videos", "Of the class", "Examples, the surest mistakes first")
    return Table(columns, rows, f"Most confused pairs. {without}".strip())


def _places_of(pair: ConfusedPair, predictions: VideoPredictions) -> list[int]:
    """Find examples of a confusion, those with the lowest probability of the right class first."""
    label, given = predictions.classes.index(pair.label), predictions.classes.index(pair.taken_for)
    confused = (predictions.labels == label) & (predictions.probabilities.argmax(1) == given)
    places = np.flatnonzero(confused)
    return places[np.argsort(predictions.of_right_class[places], kind="stable")][:_NAMED].tolist()


def _examples(
    pairs: tuple[ConfusedPair, ...], predictions: VideoPredictions, frames: MiddleFrames
) -> Gallery | Text:
    places = [place for pair in pairs for place in _places_of(pair, predictions)[:_PICTURED]]
    return _shown(predictions, frames, places, "Examples of these pairs")


def _shown(
    predictions: VideoPredictions, frames: MiddleFrames, places: list[int], caption: str
) -> Gallery | Text:
    """Show videos by their middle frames; those that cannot be read are named."""
    shown: list[Figure] = []
    unread: list[str] = []
    for place in places:
        key, picture = predictions.keys[place], frames.of(place)
        if picture is None:
            unread.append(key)
        else:
            shown.append(Figure(_verdict(predictions, place), key, picture, f"middle frame of {key}"))
    said = f"{caption}. Cannot be read any more: {', '.join(unread)}." if unread else f"{caption}."
    return Gallery(tuple(shown), said, _THUMBNAIL) if shown else Text(said)


def _verdict(predictions: VideoPredictions, place: int) -> str:
    """Say what a video is and what the model took it for."""
    row, label = predictions.probabilities[place], int(predictions.labels[place])
    given = int(row.argmax())
    right = f"{predictions.classes[label]} ({row[label]:.0%})"
    return right if given == label else f"{right}, taken for {predictions.classes[given]} ({row[given]:.0%})"


def _hardest_rows(predictions: VideoPredictions, places: list[int], without: str) -> Table:
    rows = tuple(
        (predictions.keys[place], _verdict(predictions, place), number(float(predictions.of_right_class[place])))
        for place in places
    )  # fmt: skip
    caption = f"Hardest videos: the lowest probability of the right class. {without}".strip()
    return Table(("Video", "What the model said", "Probability of the right class"), rows, caption)
