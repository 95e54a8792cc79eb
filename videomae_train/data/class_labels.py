"""Labels as texts, and the classes that they make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from videomae_train.errors import ConfigError

# Numbers keep their value, so that gaps are classes; a list that would be nearly all gaps means something else by them.
_MOST_CLASSES_A_LABEL = 10
_ALWAYS_CLASSES = 1000


def plain_label(label: str) -> str:
    """Write a number without leading zeros, so that 7 and 007 are one class; other labels stay.

    >>> [plain_label(label) for label in ("007", "run", "")]
    ['7', 'run', '']
    """
    return str(int(label)) if _is_number(label) else label


def distinct_labels(labels: Iterable[str]) -> list[str]:
    """List the labels that occur, plain, without the empty one; numbers by value if all are numbers, else as text."""
    distinct = {plain_label(label) for label in labels if label}
    return sorted(distinct, key=int) if are_numbers(distinct) else sorted(distinct)


def are_numbers(labels: Iterable[str]) -> bool:
    """Say whether all labels are decimal numbers."""
    return all(map(_is_number, labels))


def class_names(labels: Iterable[str], where: str | Path) -> tuple[str, ...]:
    """Order class names; numbers keep their value, so that gaps become classes without videos.

    Args:
        labels: As somebody wrote them; "" is none.
        where: Where they are from, for the error.

    Raises:
        ConfigError: They are numbers that would make far more classes than there are labels.
    """
    distinct = distinct_labels(labels)
    if not distinct or not are_numbers(distinct):
        return tuple(distinct)
    count = int(distinct[-1]) + 1
    if count > max(_ALWAYS_CLASSES, _MOST_CLASSES_A_LABEL * len(distinct)):
        raise ConfigError(
            where=str(where),
            came=f"{len(distinct)} different labels, numbers up to {distinct[-1]}, which would make {count} classes",
            expected="class numbers that count from 0, or class names",
            todo=f"Number them from 0, or name them: class_{distinct[-1]} in a list, --classes for `videomae index`.",
        )
    return tuple(map(str, range(count)))


def class_numbers(classes: Sequence[str]) -> Mapping[str, int]:
    """Give the number of each plain label; -1 for none."""
    return {"": -1, **{name: number for number, name in enumerate(classes)}}


def _is_number(label: str) -> bool:
    return label.isascii() and label.isdecimal()
