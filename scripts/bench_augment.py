"""Time what becomes of a decoded clip: RandAugment, crops on the CPU of each kind, crops of a batch on a device.

One thread, as in a loader's worker. Printed: median and quartiles in milliseconds. Clips are noise over a ramp.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from videomae_train.data.device_crops import crop_batch
from videomae_train.data.randaugment import PUBLISHED, rand_augment
from videomae_train.data.transforms import as_clip, crop_and_resize, sample_resized_crop
from videomae_train.types import Crops


def make_frames(num_frames: int, height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 200, width)[None, None, :, None]
    return (ramp + rng.integers(0, 56, (num_frames, height, width, 3))).astype(np.uint8)


def time_ms(work: Callable[[int], object], rounds: int, device: str = "cpu") -> str:
    times: list[float] = []
    for number in range(rounds):
        start = time.perf_counter()
        work(number)
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    low, middle, high = np.quantile(times, [0.25, 0.5, 0.75])
    return f"{middle:8.2f}  ({low:.2f} .. {high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--height", type=int, default=240)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=8, help="clips of a batch cropped on the device")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(1)
    clip = as_clip(make_frames(options.frames, options.height, options.width))
    boxes = [
        sample_resized_crop(options.height, options.width, np.random.default_rng(number))
        for number in range(options.rounds + options.batch)
    ]
    batch = clip[None].expand(options.batch, -1, -1, -1, -1).to(options.device)

    def on_device(number: int) -> object:
        some = torch.tensor(boxes[number : number + options.batch]).to(options.device)
        flips = torch.zeros(options.batch, dtype=torch.bool, device=options.device)
        return crop_batch(batch, Crops(some, flips), options.size, "uint8_antialias")

    print(f"{options.frames} x {options.height} x {options.width} to {options.size}, ms")
    for name, work in {
        f"RandAugment {PUBLISHED}": lambda number: rand_augment(clip, PUBLISHED, number),
        "crop, uint8_antialias": lambda number: crop_and_resize(clip, boxes[number], options.size),
        "crop, float_no_antialias": lambda number: crop_and_resize(
            clip, boxes[number], options.size, "float_no_antialias"
        ),
    }.items():
        print(f"{name:40}{time_ms(work, options.rounds)} a clip")
    print(
        f"{f'crop_batch of {options.batch} on {options.device}':40}"
        f"{time_ms(on_device, options.rounds, options.device)} a batch"
    )


if __name__ == "__main__":
    main()
