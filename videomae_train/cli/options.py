"""Options that several verbs have."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


class RealRange(click.FloatRange):
    """A range of numbers; click takes nan for one that is in it, since nothing is smaller than nan or larger."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read a number.

        Raises:
            BadParameter: It is not in the range.
        """
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return number


def processes(help: str) -> Callable[[Command], Command]:
    """Add `--processes`."""
    return click.option("--processes", type=click.IntRange(1), default=1, show_default=True, help=help)


def timeout_sec(help: str) -> Callable[[Command], Command]:
    """Add `--timeout-sec`; a timer of the system keeps it, for which 0 is no limit."""
    limit = RealRange(0, 86_400, min_open=True)
    return click.option("--timeout-sec", type=limit, default=300.0, show_default=True, help=help)
