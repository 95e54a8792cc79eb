"""Findings about classes and splits."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from videomae_train.data.health.findings import Finding, Severity, names_of, share_of
from videomae_train.data.inspection import InspectedSet

TRAIN = "train"
_UNEVEN = 10


def find_labels(inspected: InspectedSet) -> Iterator[Finding]:
    """Say what the labels allow. A set without any is fine for pretraining."""
    usable = inspected.usable
    if not usable:
        return
    unlabelled = [video for video in usable if video.label < 0]
    if len(unlabelled) == len(usable):
        yield Finding(
            "unlabelled", Severity.NOTE, "No video has a label: the set serves pretraining, not fine-tuning."
        )
        return
    if unlabelled:
        yield Finding(
            "partly-labelled",
            Severity.WARNING,
            f"{share_of(len(unlabelled), len(usable))} have no label: fine-tuning refuses a selection that holds one.",
            "Label them, or keep them out of the parts for fine-tuning.",
            names_of(unlabelled),
        )
    yield from _find_empty_classes(inspected)
    yield from _find_uneven_classes(inspected)


def _find_empty_classes(inspected: InspectedSet) -> Iterator[Finding]:
    present = {video.label for video in inspected.usable}
    empty = [name for label, name in enumerate(inspected.classes) if label not in present]
    if empty:
        yield Finding(
            "empty-classes",
            Severity.WARNING,
            f"{len(empty)} of {len(inspected.classes)} classes have no video at all ({_shortened(empty)}): "
            "the classifier gets outputs that nothing trains, and chance is not 1 in the number of classes.",
            "Take them off the list of classes and pack again, unless they are meant to be there.",
        )


def _find_uneven_classes(inspected: InspectedSet) -> Iterator[Finding]:
    counts = Counter(video.label for video in inspected.usable if video.label >= 0)
    (most, high), (least, low) = counts.most_common()[0], counts.most_common()[-1]
    if high >= _UNEVEN * low:
        yield Finding(
            "uneven-classes",
            Severity.WARNING,
            f"{inspected.classes[most]} has {high} videos, {inspected.classes[least]} has {low}: always guessing the "
            f"largest class is right for {100 * high / counts.total():.1f} %.",
            "Compare scores with that number, and look at the mean over classes too.",
        )


def find_splits(inspected: InspectedSet) -> Iterator[Finding]:
    """Compare the classes of each split's parts: what is tested has to be trained."""
    classes: defaultdict[str, defaultdict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for video in inspected.usable:
        for split, part in video.splits.items():
            if video.label >= 0:
                classes[split][part].add(video.label)
    if not classes and any(video.label >= 0 for video in inspected.usable):
        yield Finding(
            "no-split",
            Severity.NOTE,
            "There is no split: nothing is kept apart to test on.",
            "Give --splits, or a list with a split column, if a score is wanted.",
        )
    for split, parts in sorted(classes.items()):
        yield from _compare_parts(inspected, split, parts)


def _compare_parts(inspected: InspectedSet, split: str, parts: dict[str, set[int]]) -> Iterator[Finding]:
    trained = parts.get(TRAIN)
    for part, labels in sorted(parts.items()):
        if trained is None or part == TRAIN:
            continue
        if untrained := [inspected.classes[label] for label in sorted(labels - trained)]:
            yield Finding(
                "no-train-video",
                Severity.ERROR,
                f"{split}: {len(untrained)} classes of {part} have no video in {TRAIN} ({_shortened(untrained)}): they "
                "cannot be learnt.",
                "Correct the split, or repair the videos that were left out.",
            )
        if untested := [inspected.classes[label] for label in sorted(trained - labels)]:
            yield Finding(
                "no-test-video",
                Severity.WARNING,
                f"{split}: {len(untested)} classes of {TRAIN} have no video in {part} ({_shortened(untested)}): "
                "how well they are told apart stays unknown.",
                "Correct the split.",
            )


def _shortened(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
