"""Options that several verbs have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def processes(help: str) -> Callable[[Command], Command]:
    """Add `--processes`."""
    return click.option("--processes", type=click.IntRange(1), default=1, show_default=True, help=help)


def timeout_sec(help: str) -> Callable[[Command], Command]:
    """Add `--timeout-sec`; a timer of the system keeps it, for which 0 is no limit."""
    limit = click.FloatRange(0, 86_400, min_open=True)
    return click.option("--timeout-sec", type=limit, default=300.0, show_default=True, help=help)
