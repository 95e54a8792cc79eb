"""The points of a sweep: settings of stages, and the folder names that say what differs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from videomae_train.errors import ConfigError

PRETRAIN = "pretrain"
_OF_STAGE = re.compile(r"([~+]*)(finetune|probe|evaluate)\.(.+)", re.DOTALL)
_LONGEST_NAME = 120  # file systems end at 255, and reports would rather have it shorter


class Setting(NamedTuple):
    """One override of one stage, in Hydra's grammar; without a value it takes the key away (~key)."""

    stage: str
    key: str
    value: str | None

    @property
    def word(self) -> str:
        """Give the override."""
        return self.key if self.value is None else f"{self.key}={self.value}"

    @property
    def label(self) -> str:
        """Give its key as the sweep has it."""
        return self.key if self.stage == PRETRAIN else f"{self.stage}.{self.key}"


FROM_SCRATCH = Setting(PRETRAIN, PRETRAIN, "null")


@dataclass(frozen=True)
class Point:
    """One combination of values; its folder's name says what differs between points."""

    name: str
    settings: tuple[Setting, ...]

    @property
    def is_pretrained(self) -> bool:
        """Whether it has a pretraining."""
        return FROM_SCRATCH not in self.settings

    def words(self, stage: str) -> list[str]:
        """Give its own overrides of a stage."""
        return [each.word for each in self.settings if each.stage == stage and each != FROM_SCRATCH]


def named_points(combinations: Sequence[tuple[Setting, ...]]) -> tuple[Point, ...]:
    """Name each combination by the settings that are not the same in all."""
    labels = dict.fromkeys(each.label for settings in combinations for each in settings)
    common = {label for label in labels if len({_value_of(label, each) for each in combinations}) == 1}
    names = [_name([each for each in settings if each.label not in common]) for settings in combinations]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            where="sweep", came=f"several points of the same values, called {', '.join(twice)}",
            expected="points that differ", todo="Give every value once.",
        )  # fmt: skip
    return tuple(Point(name, settings) for name, settings in zip(names, combinations, strict=True))


def _value_of(label: str, settings: Sequence[Setting]) -> str | None:
    return next((each.value for each in settings if each.label == label), None)


def _name(differing: Sequence[Setting]) -> str:
    """Name a folder as masking.ratio-0.75+seed-0, without anything that a shell or Hydra wants quoted."""
    full = "+".join(f"{each.label}-{each.value}" for each in differing) or "point"
    name = re.sub(r"[^\w.+-]+", "-", full, flags=re.ASCII).strip("-")
    if name == full and len(name) <= _LONGEST_NAME:
        return name
    # What was taken out may have been all the difference.
    return f"{name[:_LONGEST_NAME]}-{blake2b(full.encode(), digest_size=3).hexdigest()}"


def stage_and_key(name: str) -> tuple[str, str]:
    """Take +finetune.KEY apart, of which +KEY is an override of that stage."""
    of_stage = _OF_STAGE.fullmatch(name)
    return (of_stage[2], f"{of_stage[1]}{of_stage[3]}") if of_stage else (PRETRAIN, name)
