"""What a training step is compared in: our decoders and transformers' model, on the same clips and masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from videomae_train.evaluation.number_format import PrecisionName
from videomae_train.masking import (
    DecodeAll,
    DecodeRunningCells,
    DecodeSampler,
    DecodeShare,
    TubeMask,
    split_mask,
)
from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining, normalise_clips
from videomae_train.model.layouts import to_hugging_face
from videomae_train.training.precision import Precision
from videomae_train.training.speed import clip_flops
from videomae_train.training.tasks import compiled
from videomae_train.types import PretrainBatch

Kind = Literal["joint", "dual", "cross", "cross50", "transformers"]

DECODERS: dict[Kind, DecodeSampler] = {
    "joint": DecodeAll(),
    "dual": DecodeRunningCells(0.5),
    "cross": DecodeShare(0.25),
    "cross50": DecodeShare(0.5),
    "transformers": DecodeAll(),
}
MASK_RATIO = 0.9


@dataclass(frozen=True)
class Contender:
    """One row of the comparison.

    Attributes:
        kind: Our model with the joint decoder, with dual masking (running cells, half of the tokens decoded), with the
            cross-attention decoder on a quarter or on half of the hidden tokens; or transformers' model.
        precision: Format of the forward pass, by autocast; weights and optimiser are float32.
        compile: Compile from bytes to the loss.
    """

    kind: Kind
    precision: PrecisionName
    compile: bool

    @property
    def name(self) -> str:
        """Such as `joint bf16 compiled`."""
        return f"{self.kind} {self.precision}{' compiled' if self.compile else ''}"


def transformers_missing() -> str | None:
    """Say why transformers cannot be measured here; None where it can."""
    return None if find_spec("transformers") else "transformers is not installed"


def synthetic_batch(
    config: VideoMAEConfig, kind: Kind, batch: int, device: torch.device, mask_ratio: float = MASK_RATIO
) -> PretrainBatch:
    """Make random clips with tube masks: the same clips and encoder masks for every kind."""
    rng = np.random.default_rng(0)
    height, width = config.frame_size
    frames = rng.integers(0, 256, (batch, config.num_frames, height, width, 3), dtype=np.uint8)
    masks = [TubeMask(mask_ratio)(config.grid, rng) for _ in range(batch)]
    decoded = [DECODERS[kind](mask, config.grid, rng) for mask in masks]
    tokens = (
        [split_mask(mask)[0] for mask in masks],
        [chosen[mask[chosen]] for chosen, mask in zip(decoded, masks, strict=True)],
        [chosen[~mask[chosen]] for chosen, mask in zip(decoded, masks, strict=True)],
    )
    # (B, T, H, W, C) memory seen as (B, T, C, H, W): how batches come out of our loader.
    clips = torch.from_numpy(frames).to(device).permute(0, 1, 4, 2, 3)
    visible, hidden, unscored = (torch.from_numpy(np.stack(part)).to(device) for part in tokens)
    return PretrainBatch(clips, visible, hidden, unscored, torch.arange(batch), ())


def our_model(config: VideoMAEConfig, kind: Kind) -> VideoMAEForPreTraining:
    """Make our model of a kind, its weights drawn from seed 0."""
    torch.manual_seed(0)
    decoder = "cross" if kind in ("cross", "cross50") else "joint"
    return VideoMAEForPreTraining(replace(config, decoder_kind=decoder))


def reference_model(config: VideoMAEConfig) -> nn.Module:
    """Make transformers' model of the same architecture, with the weights of our joint one.

    Its attention is PyTorch's fused one (`sdpa`). It embeds all patches before it drops the hidden ones, and its last
    decoder block works on visible tokens too, which nothing reads: its operations are more than ours.
    """
    library: Any = import_module("transformers")
    names = vars(library.VideoMAEConfig()).keys() & vars(config).keys() - {"id2label"}
    values = {name: vars(config)[name] for name in names} | {"use_mean_pooling": False}
    model = library.VideoMAEForPreTraining(library.VideoMAEConfig(**values, attn_implementation="sdpa"))
    state = to_hugging_face(our_model(config, "joint").state_dict())
    if any(name.endswith("query.bias") for name in model.state_dict()):  # transformers 5, in memory
        state = {
            name.replace("q_bias", "query.bias").replace("v_bias", "value.bias"): tensor
            for name, tensor in state.items()
        }
    model.load_state_dict(state)
    return model.train()


def loss_of(
    kind: Kind, config: VideoMAEConfig, batch: PretrainBatch, *, compile: bool = False
) -> tuple[nn.Module, Callable[[], Tensor]]:
    """Build a model on the batch's device, with the function from its bytes to its loss."""
    if kind != "transformers":
        model = our_model(config, kind).to(batch.clips.device)
        loss = compiled(model.training_loss, compile)
        return model, lambda: loss(batch.clips, batch.visible_idx, batch.hidden_idx, batch.unscored_idx)
    reference = reference_model(config).to(batch.clips.device)
    hidden = torch.ones(len(batch.clips), config.grid.num_tokens, dtype=torch.bool, device=batch.clips.device)
    mask = hidden.scatter(1, batch.visible_idx, False)

    def from_bytes(clips: Tensor, mask: Tensor) -> Tensor:
        return reference(normalise_clips(clips), bool_masked_pos=mask).loss

    # It gathers by boolean masks, which one whole graph cannot hold.
    loss = torch.compile(from_bytes, dynamic=False) if compile else from_bytes
    return reference, lambda: loss(batch.clips, mask)


def training_step(contender: Contender, config: VideoMAEConfig, batch: PretrainBatch) -> Callable[[], None]:
    """Build a contender's whole step: loss, gradients, fused AdamW."""
    model, loss = loss_of(contender.kind, config, batch, compile=contender.compile)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    precision = Precision(contender.precision, batch.clips.device)

    def step() -> None:
        with precision.autocast():
            value = loss()
        value.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def flops_per_clip(kind: Kind, config: VideoMAEConfig) -> int:
    """Count the operations of one clip, forward and backward, as `clip_flops` does."""
    batch = synthetic_batch(config, kind, 1, torch.device("cpu"))
    if kind != "transformers":
        return clip_flops(our_model(config, kind), batch)
    # Boolean masks need values, so there is no counting without computing; the counter does not know the CPU's fused
    # attention.
    _, loss = loss_of(kind, config, batch)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss().backward()
    return counter.get_total_flops()


def loss_difference(config: VideoMAEConfig, batch: PretrainBatch) -> float:
    """Compare the losses of our joint model and transformers' with the same weights: relative, in float32."""
    with torch.no_grad():
        ours, theirs = (loss_of(kind, config, batch)[1]().item() for kind in ("joint", "transformers"))
    return abs(ours - theirs) / abs(theirs)
