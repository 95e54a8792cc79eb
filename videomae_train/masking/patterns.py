"""The three mask patterns of VideoMAE, each one draw of a permutation.

Permutations are argsorts of raw generator words, because numpy promises the stability of a bit stream but not
of `Generator.permutation`: a mask is the same for the same generator on every machine and numpy version.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from videomae_train.errors import ConfigError
from videomae_train.types import PatchGrid


def num_hidden_of(count: int, ratio: float, *, of_what: str, where: str = "masking.ratio") -> int:
    """Round a share of `count` things down to a number that takes some of them, but not all.

    Args:
        count: How many things there are.
        ratio: Share to take, in (0, 1); the published rule is the integer part of the float product ratio *
            count.
        of_what: What is counted, for the error message.
        where: The dotted key of the ratio, for the error message.

    Raises:
        ConfigError: The ratio is not a share, or it takes none or all of them.
    """
    if not 0.0 < ratio < 1.0:
        raise ConfigError(
            where=where,
            came=f"{ratio} is not a share",
            expected="0 < ratio < 1, such as 0.9",
            todo="Give a share, not a percentage or a count.",
        )
    hidden = int(ratio * count)
    if not 0 < hidden < count:
        raise ConfigError(
            where=where,
            came=f"{ratio} takes {hidden} of {count} {of_what}",
            expected=f"a ratio that takes between 1 and {count - 1} of them",
            todo="Choose another ratio, or clips that are cut into more patches.",
        )
    return hidden


def sample_tube_mask(grid: PatchGrid, ratio: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Hide the same image patches in every time slot of one clip.

    A patch that barely moves could be copied from a neighbouring slot instead of predicted. One draw on the
    (h, w) plane, repeated along t, removes that shortcut (VideoMAE, section 3.3).

    Args:
        grid: Patch grid (t, h, w), counted in patches.
        ratio: Share of the h*w plane to hide, in (0, 1); exactly floor(ratio * h * w) patches per slot.
        rng: The only source of randomness.

    Returns:
        Bool (t*h*w,), True = hidden; tokens run t slowest, then h, then w.

    Raises:
        ConfigError: The ratio hides nothing or everything.

    >>> mask = sample_tube_mask(PatchGrid(t=8, h=14, w=14), 0.9, np.random.default_rng(0))
    >>> mask.shape, int(mask.sum())
    ((1568,), 1408)
    """
    plane = grid.h * grid.w
    hidden = num_hidden_of(plane, ratio, of_what="patches of the image plane")
    return np.tile(choose(plane, hidden, rng), grid.t)


def sample_random_mask(grid: PatchGrid, ratio: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Hide tokens anywhere in the clip, each as likely as any other (VideoMAE, figure 3; agnostic to space
    and time).

    Args:
        grid: Patch grid (t, h, w), counted in patches.
        ratio: Share of all tokens to hide, in (0, 1); exactly floor(ratio * t * h * w) of them.
        rng: The only source of randomness.

    Returns:
        Bool (t*h*w,), True = hidden; tokens run t slowest, then h, then w.

    Raises:
        ConfigError: The ratio hides nothing or everything.
    """
    return choose(grid.num_tokens, num_hidden_of(grid.num_tokens, ratio, of_what="tokens"), rng)


def sample_frame_mask(grid: PatchGrid, ratio: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Hide whole time slots of the clip (VideoMAE, table 1b: 87.5 % is seven slots of eight).

    Only multiples of 1/t can be hidden: `FrameMask.effective_ratio` says which one a ratio comes to.

    Args:
        grid: Patch grid (t, h, w), counted in patches.
        ratio: Share of the t slots to hide, in (0, 1); exactly floor(ratio * t) of them.
        rng: The only source of randomness.

    Returns:
        Bool (t*h*w,), True = hidden; tokens run t slowest, then h, then w.

    Raises:
        ConfigError: The ratio hides nothing or everything.
    """
    hidden = num_hidden_of(grid.t, ratio, of_what="time slots")
    return np.repeat(choose(grid.t, hidden, rng), grid.h * grid.w)


def choose(count: int, chosen: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Mark `chosen` of `count` places, each set as likely as any other.

    Returns:
        Bool (count,), exactly `chosen` of them True.
    """
    # Philox gives whole 64-bit words; equal words (chance 2**-64 a pair) fall back to the smaller place.
    words = rng.bit_generator.random_raw(count)
    mask = np.zeros(count, dtype=np.bool_)
    mask[np.argsort(words, kind="stable")[:chosen]] = True
    return mask
