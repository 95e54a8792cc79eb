"""RandAugment of whole clips: timm's operations, drawn once for all frames."""

from __future__ import annotations

import re

import numpy as np
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from torch import Tensor

from videomae_train.data.transforms import as_clip
from videomae_train.randomness import KeyPart, seeded_scope

PUBLISHED = "rand-m7-n4-mstd0.5-inc1"
_NUMBER = r"\d+(\.\d+)?"
# timm passes over what it does not know; what is refused here would have been ignored.
_SPELLING = re.compile(rf"rand(-(m\d+|n\d+|inc[01]|mmax\d+|mstd{_NUMBER}|p{_NUMBER}))*")


def is_randaugment(spelling: str) -> bool:
    """Tell whether a string describes a RandAugment.

    >>> is_randaugment(PUBLISHED), is_randaugment("rand-m7-x4")
    (True, False)
    """
    return _SPELLING.fullmatch(spelling) is not None


def rand_augment(clip: Tensor, spelling: str, *key: KeyPart) -> Tensor:
    """Apply RandAugment to every frame alike (Cubuk et al., 1909.13719; timm's variant).

    The published "rand-m7-n4-mstd0.5-inc1" draws 4 of 15 operations with replacement, carries each out with
    probability 1/2, and gives each a strength of its own, N(7, 0.5) cut to 0..10. What an operation measures on a
    picture (its mean, its histogram) it measures on each frame.

    Args:
        clip: uint8 (T, C, H, W), whole frames, viewing memory laid out (T, H, W, C).
        spelling: timm's notation.
        key: What the draw is about; the global generators are seeded from it inside only.

    Returns:
        uint8 (T, C, H, W), laid out as the argument; uncovered borders are mid-grey.
    """
    look = {"img_mean": (128, 128, 128), "interpolation": Image.Resampling.BICUBIC}
    transform, augmented = rand_augment_transform(spelling, look), list[np.ndarray]()
    for frame in clip.permute(0, 2, 3, 1).numpy():
        # Seeded alike for every frame: the draws are the same, only the picture differs.
        with seeded_scope(*key):
            augmented.append(np.asarray(transform(Image.fromarray(frame))))
    return as_clip(np.stack(augmented))
