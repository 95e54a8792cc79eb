from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import auto_augment
from torch import Tensor

from videomae_train.data.randaugment import PUBLISHED, is_randaugment, rand_augment
from videomae_train.data.transforms import as_clip
from videomae_train.randomness import seeded_scope

# The published operations and what each makes of its strength, as videomae-facts lists them: level m of 10.
STRENGTHS = {
    "AutoContrast": None,
    "Equalize": None,
    "Invert": None,
    "Rotate": lambda m: 30 * m / 10,
    "PosterizeIncreasing": lambda m: 4 - int(4 * m / 10),
    "SolarizeIncreasing": lambda m: 256 - int(256 * m / 10),
    "SolarizeAdd": lambda m: int(110 * m / 10),
    "ColorIncreasing": lambda m: 0.9 * m / 10,
    "ContrastIncreasing": lambda m: 0.9 * m / 10,
    "BrightnessIncreasing": lambda m: 0.9 * m / 10,
    "SharpnessIncreasing": lambda m: 0.9 * m / 10,
    "ShearX": lambda m: 0.3 * m / 10,
    "ShearY": lambda m: 0.3 * m / 10,
    "TranslateXRel": lambda m: 0.45 * m / 10,
    "TranslateYRel": lambda m: 0.45 * m / 10,
}
SIGNED_AROUND = {
    "Rotate": 0,
    "ShearX": 0,
    "ShearY": 0,
    "TranslateXRel": 0,
    "TranslateYRel": 0,
} | dict.fromkeys(["ColorIncreasing", "ContrastIncreasing", "BrightnessIncreasing", "SharpnessIncreasing"], 1)


def noise_clip(num_frames: int = 4, height: int = 24, width: int = 32) -> Tensor:
    return as_clip(np.random.default_rng(0).integers(0, 256, (num_frames, height, width, 3), np.uint8))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, float, dict[str, object]]]:
    """Record what is carried out: name, strength, timm's argument, options; pictures stay as they are."""
    recorded: list[tuple[str, float, float, dict[str, object]]] = []

    def watch(name: str) -> None:
        level_to_arg = auto_augment.LEVEL_TO_ARG[name]
        levels: list[float] = []

        def note_level(level: float, hparams: object) -> tuple[float, ...]:
            levels.append(level)
            return level_to_arg(level, hparams)

        def note_call(image: Image.Image, *args: float, **options: object) -> Image.Image:
            recorded.append((name, levels[-1] if levels else -1.0, args[0] if args else -1.0, options))
            return image

        if level_to_arg is not None:
            monkeypatch.setitem(auto_augment.LEVEL_TO_ARG, name, note_level)
        monkeypatch.setitem(auto_augment.NAME_TO_OP, name, note_call)

    for name in STRENGTHS:
        watch(name)
    return recorded


def test_published__operations_probabilities_and_strengths(
    calls: list[tuple[str, float, float, dict]],
) -> None:
    num_clips = 2000
    transform = auto_augment.rand_augment_transform(
        PUBLISHED, {"img_mean": (128, 128, 128), "interpolation": Image.Resampling.BICUBIC}
    )
    random.seed(0)
    np.random.seed(0)
    picture = Image.new("RGB", (4, 4))
    per_clip = Counter[int]()
    for _ in range(num_clips):
        before = len(calls)
        transform(picture)
        per_clip[len(calls) - before] += 1
    # 4 draws with replacement from 15, each carried out with probability 1/2.
    for count, share in enumerate([1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16]):
        assert abs(per_clip[count] / num_clips - share) < 5 * (share * (1 - share) / num_clips) ** 0.5
    names = Counter(name for name, *_ in calls)
    assert set(names) == set(STRENGTHS)
    expected = 2 * num_clips / 15
    assert all(abs(count - expected) < 5 * expected**0.5 for count in names.values())
    levels = np.array([level for _, level, *_ in calls if level >= 0])
    assert abs(levels.mean() - 7) < 0.05
    assert abs(levels.std() - 0.5) < 0.03
    assert len(np.unique(levels)) == len(levels), "a strength of its own for each operation"


def test_published__arguments_of_each_strength(calls: list[tuple[str, float, float, dict]]) -> None:
    clip = noise_clip(1, 4, 4)
    for number in range(400):
        rand_augment(clip, PUBLISHED, "fresh", number)
    signs = dict.fromkeys(SIGNED_AROUND, 0)
    for name, level, argument, options in calls:
        strength = STRENGTHS[name]
        if strength is None:
            continue
        assert options == {"fillcolor": (128, 128, 128), "resample": Image.Resampling.BICUBIC}
        if name in SIGNED_AROUND:
            assert abs(argument - SIGNED_AROUND[name]) == pytest.approx(strength(level))
            signs[name] += 1 if argument > SIGNED_AROUND[name] else -1
        else:
            assert argument == strength(level)
    total = sum(name in SIGNED_AROUND for name, *_ in calls)
    assert abs(sum(signs.values())) < 5 * total**0.5, "both signs alike"


def test_rand_augment__one_draw_per_clip_from_its_key() -> None:
    still = noise_clip(1).expand(5, -1, -1, -1)
    results = [rand_augment(still, PUBLISHED, "key", number) for number in range(12)]
    for number, result in enumerate(results):
        assert all(torch.equal(result[0], frame) for frame in result), "frames that were equal stay equal"
        assert torch.equal(result, rand_augment(still, PUBLISHED, "key", number))
        assert result.dtype == torch.uint8
        assert result.permute(0, 2, 3, 1).is_contiguous()
    assert sum(not torch.equal(results[0], result) for result in results) >= 8


def test_rand_augment__is_timms_seeded_alike_for_every_frame() -> None:
    clip = noise_clip(3)
    options = {"img_mean": (128, 128, 128), "interpolation": Image.Resampling.BICUBIC}
    transform = auto_augment.rand_augment_transform(PUBLISHED, options)
    for number in range(6):
        ours = rand_augment(clip, PUBLISHED, "key", number)
        for frame, result in zip(clip, ours, strict=True):
            with seeded_scope("key", number):
                expected = np.array(transform(Image.fromarray(frame.permute(1, 2, 0).numpy())))
            assert torch.equal(result.permute(1, 2, 0), torch.from_numpy(expected))


def test_rand_augment__leaves_the_global_generators_and_its_argument_alone() -> None:
    states, clip = (random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()), noise_clip()
    for number in range(8):
        rand_augment(clip, PUBLISHED, number)
    assert torch.equal(clip, noise_clip())
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()
    assert torch.equal(torch.get_rng_state(), states[2])


@pytest.mark.parametrize(
    "spelling", ["", "rand-m7-x4", "rand-n2.5", "rand-m7-n4-tweights", "auto", "rand-m7-n4-"]
)
def test_is_randaugment__refuses_what_timm_would_ignore(spelling: str) -> None:
    assert not is_randaugment(spelling)


@pytest.mark.parametrize("spelling", [PUBLISHED, "rand-m9-n2", "rand-m9-mstd0.5-inc1", "rand-p0.7-mmax20"])
def test_is_randaugment__takes_timms_notation(spelling: str) -> None:
    assert is_randaugment(spelling)
    rand_augment(noise_clip(1), spelling, 0)
