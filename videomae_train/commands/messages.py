"""Lines on the terminal, from one rank for all."""

from __future__ import annotations

from rich.console import Console

from videomae_train.training.starters import global_rank


def say(*lines: str) -> None:
    """Print lines as they are; ranks other than the first are silent."""
    if global_rank() != 0:
        return
    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        console.print(line, markup=False)
