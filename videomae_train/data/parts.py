"""Parts of a job: several processes, on one machine or many, that make a set together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from videomae_train.errors import ConfigError


@dataclass(frozen=True)
class Part:
    """One of several jobs that make a set together; it takes every `count`-th shard.

    Attributes:
        number: From 1 to `count`.
        count: Jobs in all.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a part written as "2/8".

        Raises:
            ConfigError: It is not written so, or there is no such part.
        """
        number, slash, count = text.partition("/")
        if slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
            return cls(int(number), int(count))
        raise ConfigError(
            where="--part",
            came=repr(text),
            expected="a number and a count such as 2/8, from 1/8 to 8/8",
            todo="In a Slurm array of 8 with --array=1-8: --part $SLURM_ARRAY_TASK_ID/8",
        )

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def holds(self, shard: int) -> bool:
        """Say whether the part has the shard of this number."""
        return shard % self.count == self.number - 1


def shards_of_part(part: Part | None, num_shards: int) -> list[int]:
    """List the numbers of a part's shards, or of all."""
    return [number for number in range(num_shards) if part is None or part.holds(number)]


def check_part(part: Part | None, *, overwrite: bool) -> None:
    """Refuse a part that overwrites.

    Raises:
        ConfigError: It is one.
    """
    if part is not None and overwrite:
        raise ConfigError(
            where="--overwrite",
            came=f"together with part {part}",
            expected="parts that fill a folder together, of which none removes the others' work",
            todo="Remove the old set first, then start the parts.",
        )
