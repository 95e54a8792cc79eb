"""The running-cell pattern: which positions a decoder leaves out (VideoMAE V2, section 3.2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from videomae_train.errors import ConfigError
from videomae_train.types import PatchGrid

_CELL = 4  # positions of a 2x2 cell, and slots after which the pattern repeats


def cell_places_left_out(ratio: float) -> int:
    """Count the places of a 2x2 cell that are left out: floor(4 * ratio), 1 to 3.

    Raises:
        ConfigError: The ratio leaves out no place, or all four.
    """
    places = int(_CELL * ratio)
    if not 0 < places < _CELL:
        raise ConfigError(
            where="masking.decode.ratio",
            came=f"{ratio} leaves out {places} of the 4 places of a cell",
            expected="a ratio in [0.25, 1), such as 0.5",
            todo="Choose 0.25, 0.5 or 0.75, or decode all hidden tokens.",
        )
    return places


def check_cells(grid: PatchGrid) -> None:
    """Refuse grids that 2x2 cells do not tile, or whose slots do not visit their places equally often.

    Raises:
        ConfigError: h or w is odd, or t is no multiple of 4.
    """
    if grid.h % 2 or grid.w % 2 or grid.t % _CELL:
        raise ConfigError(
            where="masking.decode",
            came=f"a grid of {grid.t}x{grid.h}x{grid.w} patches",
            expected="t a multiple of 4, h and w even",
            todo="Use clips of another size, or decode another share than running cells.",
        )


def running_cell_map(grid: PatchGrid, ratio: float, start: int) -> NDArray[np.bool_]:
    """Draw one of the four running-cell patterns.

    Each 2x2 cell has a queue of left-out places followed by decoded ones; from slot to slot the queue moves
    on by one place, so that every position is decoded in the same share of the slots.

    Args:
        grid: Patch grid (t, h, w); t a multiple of 4, h and w even.
        ratio: Share to leave out; a multiple of 1/4 is exact, others round down.
        start: 0 to 3, where the queue starts.

    Returns:
        Bool (N,), True = left out of decoding.

    Raises:
        ConfigError: The grid or the ratio does not suit.
    """
    check_cells(grid)
    queue = np.arange(_CELL) < cell_places_left_out(ratio)
    slots = np.arange(grid.t)[:, None] + start + 1
    cells = queue[(np.arange(_CELL) + slots) % _CELL].reshape(grid.t, 2, 2)
    return np.tile(cells, (1, grid.h // 2, grid.w // 2)).reshape(-1)


def sample_running_cell_mask(grid: PatchGrid, ratio: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Leave positions out of decoding by one of the four running-cell patterns, each as likely as the others.

    Args:
        grid: Patch grid (t, h, w); t a multiple of 4, h and w even.
        ratio: Share to leave out, in [0.25, 1); VideoMAE V2 uses 0.5.
        rng: The only source of randomness.

    Returns:
        Bool (N,), True = left out of decoding.

    Raises:
        ConfigError: The grid or the ratio does not suit.
    """
    return running_cell_map(grid, ratio, int(rng.bit_generator.random_raw()) % _CELL)
