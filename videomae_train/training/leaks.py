"""Whether what is to be predicted is kept from the encoder: looked at in the loss itself, not in the masks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from videomae_train.model import VideoMAEForPreTraining, patchify, unpatchify
from videomae_train.types import PretrainBatch


@torch.no_grad()
def encoder_sees_hidden_pixels(model: VideoMAEForPreTraining, batch: PretrainBatch) -> bool:
    """Turn the hidden pixels of one clip to their negative, and say whether the encoder is given anything else for it.

    Exact, whatever the weights: two losses are computed, and what enters the encoder is compared. It finds a model
    that picks the wrong tokens, and positions that are both visible and to be predicted; the numbers of both may be
    right. (Swapping the halves of a 50 % mask before the batch is made is no fault: it gives such a mask again.)

    Args:
        model: What is trained, on the batch's device.
        batch: A micro-batch of the run, of which the first clip is taken.
    """
    clips, idx = batch.clips[:1], (batch.visible_idx[:1], batch.hidden_idx[:1], batch.unscored_idx[:1])
    negative = _with_negative_patches(model, clips, batch.hidden_idx[0])
    given, then = (_given_to_encoder(model, pixels, *idx) for pixels in (clips, negative))
    return not torch.equal(given, then)


def _with_negative_patches(model: VideoMAEForPreTraining, clips: Tensor, idx: Tensor) -> Tensor:
    size = {"tubelet_size": model.config.tubelet_size, "patch_size": model.config.patch_size}
    patches = patchify(clips, **size).clone()
    patches[:, idx] = 255 - patches[:, idx]
    return unpatchify(patches, model.config.grid, **size)


def _given_to_encoder(model: VideoMAEForPreTraining, clips: Tensor, *idx: Tensor) -> Tensor:
    given: list[Tensor] = []

    def note(module: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
        given.append(arguments[0])

    hook = model.encoder.register_forward_pre_hook(note)
    try:
        model.training_loss(clips, *idx)
    finally:
        hook.remove()
    return given[0]
