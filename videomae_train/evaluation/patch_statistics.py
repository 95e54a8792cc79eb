"""Brightness and contrast of hidden patches, inferred without looking at them.

Two sources are allowed: the visible pixels, and the predicted patterns. A first guess interpolates the
visible patches' statistics over the grid. Then each time slot is solved as one least-squares problem:
neighbouring patches should agree where they touch, while staying near the guess. A predicted edge that runs
on into the next patch thus gets the contrast that makes it fit. Without a predicted pattern all that remains
is a smooth interpolation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from videomae_train.types import PatchGrid

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Trust in the interpolated guess, against one pair of touching patches.
_MEAN_TRUST = 0.02
_STD_TRUST = 0.3
# Another time slot counts as this many patches away: things move.
_SLOT_DISTANCE = 2.0
_DISTANCE_POWER = 4.0


def infer_patch_statistics(
    pixels: Floats, pattern: Floats, mask: Mask, grid: PatchGrid, tubelet_size: int
) -> tuple[Floats, Floats]:
    """Infer mean and standard deviation of hidden patches from visible patches and predicted patterns.

    Args:
        pixels: (N, K, C) in [0, 1], K = (dt, dy, dx) positions of a patch; only visible rows are read.
        pattern: (M, K, C), predicted patches, normalised per patch and channel.
        mask: Bool (N,), True = hidden.
        grid: Patches along time, height and width.
        tubelet_size: Frames of a patch.

    Returns:
        mean and std, each (M, C).
    """
    visible = pixels[~mask]
    mean, std = visible.mean(1), visible.std(1, ddof=1)
    weights = interpolation_weights(mask, grid)
    guess = np.stack([weights @ mean, weights @ std], axis=1)
    patterns = np.empty_like(pixels)
    patterns[mask], patterns[~mask] = pattern, (visible - mean[:, None]) / (std[:, None] + 1e-6)
    statistics = np.empty((len(pixels), 2, pixels.shape[-1]))
    statistics[mask], statistics[~mask] = guess, np.stack([mean, std], axis=1)
    slots = np.arange(grid.num_tokens).reshape(grid.t, -1)
    for tokens in slots:
        if mask[tokens].any():
            statistics[tokens] = _fit_seams(
                statistics[tokens], patterns[tokens], mask[tokens], (grid.h, grid.w), tubelet_size
            )
    return statistics[mask, 0], statistics[mask, 1].clip(min=0)


def interpolation_weights(mask: Mask, grid: PatchGrid) -> Floats:
    """Weigh visible patches for each hidden one by their distance on the grid (Shepard's interpolation).

    Returns:
        (M, V), positive; rows sum to 1, so that nothing leaves the range of the visible values.
    """
    places = np.stack(np.unravel_index(np.arange(grid.num_tokens), grid), axis=1) * [_SLOT_DISTANCE, 1.0, 1.0]
    offsets = places[mask][:, None] - places[~mask][None]
    weights = (offsets**2).sum(-1) ** (-_DISTANCE_POWER / 2)
    return weights / weights.sum(1, keepdims=True)


def _fit_seams(statistics: Floats, patterns: Floats, mask: Mask, plane: tuple[int, int], dt: int) -> Floats:
    """Refine one slot's statistics (n, 2, C), those of hidden patches, so that touching patches agree."""
    fitted = statistics.copy()
    first, second, edges = _touching_edges(patterns, plane, dt)
    trust = np.tile([_MEAN_TRUST, _STD_TRUST], int(mask.sum()))
    for channel in range(statistics.shape[-1]):
        normal = _normal_matrix(first, second, edges[..., channel], len(mask))
        inner = normal[mask][:, :, mask].reshape(len(trust), len(trust))
        known = normal[mask][:, :, ~mask].reshape(len(trust), -1) @ statistics[~mask, :, channel].ravel()
        guess = statistics[mask, :, channel].ravel()
        solution = np.linalg.solve(inner + np.diag(trust), trust * guess - known)
        fitted[mask, :, channel] = solution.reshape(-1, 2)
    return fitted


def _touching_edges(
    patterns: Floats, plane: tuple[int, int], dt: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """List the pairs of neighbours in a slot, and their patterns along the common border.

    Returns:
        first (E,), second (E,) token numbers in the slot; edges (E, 2, L, C), L = dt * patch edge pixels.
    """
    height, width = plane
    side = round((patterns.shape[1] / dt) ** 0.5)
    cube = patterns.reshape(height * width, dt, side, side, -1)
    numbers = np.arange(height * width).reshape(plane)
    beside = (numbers[:, :-1].ravel(), numbers[:, 1:].ravel())
    below = (numbers[:-1].ravel(), numbers[1:].ravel())
    across = np.stack([cube[beside[0]][:, :, :, -1], cube[beside[1]][:, :, :, 0]], axis=1)
    down = np.stack([cube[below[0]][:, :, -1], cube[below[1]][:, :, 0]], axis=1)
    edges = np.concatenate([across, down]).reshape(-1, 2, dt * side, patterns.shape[-1])
    return np.concatenate([beside[0], below[0]]), np.concatenate([beside[1], below[1]]), edges


def _normal_matrix(
    first: NDArray[np.int64], second: NDArray[np.int64], edges: Floats, num_patches: int
) -> Floats:
    """Sum up the squared mismatch of all borders as a quadratic form in (mean, std) of each patch.

    Returns:
        A (n, 2, n, 2): the mismatch is x' A x for x (n, 2), averaged over each border's pixels.
    """
    basis = np.stack(
        [np.ones_like(edges), edges], axis=-1
    )  # (E, 2 sides, L, 2): value = mean + std * pattern
    basis[:, 1] *= -1
    blocks = np.einsum("eali,ebmj,lm->eaibj", basis, basis, np.eye(edges.shape[-1])) / edges.shape[-1]
    normal = np.zeros((num_patches, num_patches, 2, 2))
    ends = (first, second)
    for a in (0, 1):
        for b in (0, 1):
            np.add.at(normal, (ends[a], ends[b]), blocks[:, a, :, b])
    return normal.transpose(0, 2, 1, 3)
