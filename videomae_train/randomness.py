"""Randomness as an argument: generators that are a pure function of what they are for.

Every random choice about a sample comes from a counter-based generator (Philox) keyed by what the choice is about,
never by worker, rank or clock. Two runs that ask for the same choice get the same answer, in whatever order they ask.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import blake2b

import numpy as np

KeyPart = int | str


def philox_key(*parts: KeyPart) -> int:
    """Condense the parts of a key to Philox' 128 bits.

    Each part is hashed with its type and length, so that ("ab", "c") and ("a", "bc"), or 1 and "1", differ.

    >>> philox_key(0, "crop") == philox_key("0", "crop")
    False
    """
    digest = blake2b(digest_size=16)
    for part in parts:
        encoded = str(part).encode()
        digest.update(f"{type(part).__name__}:{len(encoded)}:".encode() + encoded)
    return int.from_bytes(digest.digest(), "little")


def keyed_rng(*parts: KeyPart) -> np.random.Generator:
    """Make the generator that belongs to a key.

    >>> int(keyed_rng(0, "mask").integers(1000)) == int(keyed_rng(0, "mask").integers(1000))
    True
    """
    return np.random.Generator(np.random.Philox(key=philox_key(*parts)))


def keyed_permutation(size: int, *parts: KeyPart) -> np.ndarray:
    """Permute 0..size-1, the same for the same key on every machine and numpy version.

    An argsort of raw Philox words: numpy promises the stability of the bit stream, not of `permutation`. Equal words
    (chance 2**-64 a pair) fall back to the smaller number first.

    Returns:
        int64 (size,).
    """
    words = np.random.Philox(key=philox_key(*parts)).random_raw(size)
    return np.argsort(words, kind="stable")


@contextmanager
def seeded_scope(*parts: KeyPart) -> Generator[None]:
    """Seed Python's, numpy's and torch's global generators inside a block and restore them after it.

    For library augmentations (torchvision, timm) that draw from global generators. Only torch's CPU generator is
    touched: augmentations run on the CPU, and seeding a device would initialise it in loader workers.
    """
    import torch  # seconds, which children that only read videos need not spend

    python_state, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    key = philox_key(*parts)
    _seed_host(key)
    torch.default_generator.manual_seed(key % 2**63)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)


def seed_global_generators(*parts: KeyPart) -> None:
    """Seed Python's, numpy's and torch's global generators, those of devices included.

    For the draws of one micro-batch inside the model: drop path, mixup.
    """
    import torch

    key = philox_key(*parts)
    _seed_host(key)
    seed = key % 2**63
    # Not torch.manual_seed: for each kind of device that is not there it keeps a trace of the call stack, half a
    # millisecond in all.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    elif torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


def _seed_host(key: int) -> None:
    random.seed(key)
    np.random.seed(key % 2**32)
