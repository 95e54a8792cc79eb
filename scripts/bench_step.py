"""Compare our pretraining step with transformers' in one alternating run, on synthetic clips.

Both models have the same size, the same clips and the same masks; the order of the two alternates from round to
round, so that a noisy machine disturbs both alike. Printed: medians, quartiles, and the ratio of each round.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from transformers import VideoMAEConfig as ReferenceConfig
from transformers import VideoMAEForPreTraining as Reference

from videomae_train.masking import TubeMask, split_mask
from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining, normalise_clips

SIZES = {
    "tiny": {"hidden_size": 192, "num_hidden_layers": 4, "num_attention_heads": 3, "intermediate_size": 768}
    | {"decoder_hidden_size": 96, "decoder_num_attention_heads": 3, "decoder_intermediate_size": 384}
    | {"decoder_num_hidden_layers": 2, "image_size": 64, "patch_size": 8, "num_frames": 8},
    "small": {
        "hidden_size": 384,
        "num_hidden_layers": 12,
        "num_attention_heads": 6,
        "intermediate_size": 1536,
    }
    | {"decoder_hidden_size": 192, "decoder_num_attention_heads": 3, "decoder_intermediate_size": 768},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=sorted(SIZES), default="small")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    ours, reference = steps(SIZES[options.size], options.batch)
    timed_pair(ours, reference, first=True)  # warm-up
    pairs = np.array([timed_pair(ours, reference, first=number % 2 == 0) for number in range(options.rounds)])
    for name, seconds in (("videomae-train", pairs[:, 0]), ("transformers", pairs[:, 1])):
        low, middle, high = np.percentile(seconds * 1000, [25, 50, 75])
        clips_per_sec = options.batch / np.median(seconds)
        print(f"{name:15s} {middle:8.1f} ms a step ({low:.1f} to {high:.1f})   {clips_per_sec:6.2f} clips/s")
    low, middle, high = np.percentile(pairs[:, 1] / pairs[:, 0], [25, 50, 75])
    conditions = f"{options.rounds} rounds, {torch.get_num_threads()} threads"
    print(f"ratio           {middle:8.2f} x ({low:.2f} to {high:.2f}) over {conditions}")


def steps(sizes: dict[str, int], batch: int) -> tuple[Callable[[], None], Callable[[], None]]:
    torch.manual_seed(0)
    config = VideoMAEConfig(**sizes)  # pyright: ignore[reportArgumentType]
    model = VideoMAEForPreTraining(config)
    reference = Reference(ReferenceConfig(**sizes, use_mean_pooling=False, norm_pix_loss=True))  # pyright: ignore[reportArgumentType]
    rng = np.random.default_rng(0)
    height, width = config.frame_size
    frames = rng.integers(0, 256, (batch, config.num_frames, height, width, 3), dtype=np.uint8)
    clips = torch.from_numpy(frames).permute(0, 1, 4, 2, 3)
    masks = [TubeMask(0.9)(config.grid, rng) for _ in range(batch)]
    visible, hidden = (torch.from_numpy(np.stack(part)) for part in zip(*map(split_mask, masks), strict=True))
    mask = torch.from_numpy(np.stack(masks))

    def ours_loss() -> torch.Tensor:
        return model.training_loss(clips, visible, hidden)

    def reference_loss() -> torch.Tensor:
        return reference(normalise_clips(clips), bool_masked_pos=mask).loss

    return stepper(model, ours_loss), stepper(reference, reference_loss)


def stepper(model: torch.nn.Module, loss: Callable[[], torch.Tensor]) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        loss().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def timed_pair(
    ours: Callable[[], None], reference: Callable[[], None], *, first: bool
) -> tuple[float, float]:
    if first:
        return timed(ours), timed(reference)
    reference_sec = timed(reference)
    return timed(ours), reference_sec


def timed(step: Callable[[], None]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
