"""Pictures of what a pretraining model reconstructs, and the losses that need no model.

A model trained on normalised pixels predicts the pattern inside each patch, not its brightness and contrast.
The usual picture takes those from the original, so that even a prediction of nothing looks right. Here the
default view is honest: it is a function of the visible pixels and the prediction alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from videomae_train.errors import ConfigError
from videomae_train.evaluation.patch_statistics import infer_patch_statistics
from videomae_train.masking import split_mask
from videomae_train.model.config import VideoMAEConfig
from videomae_train.model.patches import gather_tokens, patchify, unpatchify
from videomae_train.model.targets import PixelTarget, Target
from videomae_train.pictures import FrameRow
from videomae_train.types import PatchGrid

HIDDEN_GREY = 200
HONEST_LABEL = "reconstruction"
WITH_STATISTICS_LABEL = "with original's statistics"
VIEW_NOTES = {
    HONEST_LABEL: "Reconstruction: made of the visible patches and the prediction only.",
    WITH_STATISTICS_LABEL: "Original's patch statistics: shows more than the model knows.",
}


class Reconstructor(Protocol):
    """What is asked of a pretraining model; `VideoMAEForPreTraining` has it."""

    @property
    def config(self) -> VideoMAEConfig:
        """Architecture."""
        ...

    @property
    def target(self) -> Target:
        """What the predictions mean."""
        ...

    def predict_hidden(self, clips: Tensor, visible_idx: Tensor, hidden_idx: Tensor) -> Tensor:
        """Predict tokens: uint8 (B, T, C, H, W), int64 (B, V) and (B, M) give (B, M, P)."""
        ...


@dataclass(frozen=True)
class Reconstruction:
    """One clip, as it was, as the model saw it, and as the model completes it.

    Attributes:
        original: uint8 (T, H, W, C).
        seen: The same with hidden patches grey.
        honest: Visible patches copied, hidden ones from the prediction; hidden pixels are used nowhere.
        with_patch_statistics: The same with each hidden patch's mean and standard deviation taken from the
            original: shows more than the model knows. None where the model predicts raw pixels, which need
            no statistics.
        loss: Mean squared error of the hidden patches in the target's units, as in training.
    """

    original: NDArray[np.uint8]
    seen: NDArray[np.uint8]
    honest: NDArray[np.uint8]
    with_patch_statistics: NDArray[np.uint8] | None
    loss: float


class BaselineLosses(NamedTuple):
    """Losses of predictions that need no model, in the target's units.

    Attributes:
        predict_mean: Each channel's mean target everywhere; (n - 1) / n for normalised patches of n pixels
            with any contrast, so about 1.
        copy_nearest: The nearest visible patch in place of each hidden one.
    """

    predict_mean: float
    copy_nearest: float


@torch.inference_mode()
def reconstruct_clip(model: Reconstructor, clip: Tensor, mask: NDArray[np.bool_]) -> Reconstruction:
    """Let a model complete one clip.

    Args:
        model: In evaluation mode, on the clip's device.
        clip: uint8 (T, C, H, W), RGB 0..255.
        mask: Bool (N,), True = hidden.

    Raises:
        ConfigError: The mask does not fit the model, or the model predicts something else than pixels.
    """
    config, target = model.config, _pixel_target(model.target)
    _check_mask(mask, config.grid)
    visible_idx, hidden_idx = (torch.from_numpy(idx)[None].to(clip.device) for idx in split_mask(mask))
    prediction = model.predict_hidden(clip[None], visible_idx, hidden_idx)[0].double().cpu()
    patches = _unit_patches(clip[None], config)[0].cpu()
    loss = F.mse_loss(prediction, target(patches[hidden_idx[0].cpu()]))
    pixels = patches.unflatten(-1, (-1, config.num_channels)).numpy()
    pattern = prediction.unflatten(-1, (-1, config.num_channels)).numpy()
    with_statistics = None
    if target.normalise:
        mean, std = pixels[mask].mean(1), pixels[mask].std(1, ddof=1)
        with_statistics = _denormalise(pattern, mean, std)
        mean, std = infer_patch_statistics(pixels, pattern, mask, config.grid, config.tubelet_size)
        pattern = _denormalise(pattern, mean, std)
    return Reconstruction(
        original=_to_frames(pixels, config),
        seen=_to_frames(_fill(pixels, mask, HIDDEN_GREY / 255), config),
        honest=_to_frames(_fill(pixels, mask, pattern), config),
        with_patch_statistics=None
        if with_statistics is None
        else _to_frames(_fill(pixels, mask, with_statistics), config),
        loss=float(loss),
    )


@torch.inference_mode()
def baseline_losses(
    config: VideoMAEConfig, target: Target, clips: Tensor, visible_idx: Tensor, hidden_idx: Tensor
) -> BaselineLosses:
    """Compute what a pretraining loss has to be compared with, on a batch of data.

    Args:
        config: Of the model whose loss it is.
        target: Of that model.
        clips: uint8 (B, T, C, H, W), RGB 0..255.
        visible_idx: int64 (B, V).
        hidden_idx: int64 (B, M).
    """
    patches = _unit_patches(clips, config)
    truth = target(gather_tokens(patches, hidden_idx))
    constant = truth.mean(
        (0, 1)
    )  # of any target; of pixels each channel has one mean, wherever it is in the patch
    if isinstance(target, PixelTarget):
        constant = constant.unflatten(-1, (-1, config.num_channels)).mean(0)
        constant = constant.repeat(truth.shape[-1] // config.num_channels)
    places = torch.tensor(
        np.stack(np.unravel_index(np.arange(config.grid.num_tokens), config.grid), axis=1),
        device=clips.device,
    ).double()
    nearest = torch.cdist(places[hidden_idx], places[visible_idx]).argmin(-1)
    copied = target(gather_tokens(patches, visible_idx.gather(1, nearest)))
    return BaselineLosses(
        predict_mean=float(F.mse_loss(constant.expand_as(truth), truth)),
        copy_nearest=float(F.mse_loss(copied, truth)),
    )


def view_rows(
    reconstruction: Reconstruction, *, original_statistics: bool = False
) -> tuple[FrameRow, FrameRow, FrameRow]:
    """Label a clip, what the model saw of it and what it made of that, for a strip or a moving picture.

    Args:
        reconstruction: Of one clip.
        original_statistics: Take the view with the original's statistics, if there is one; `VIEW_NOTES` has what to
            state beside the last row.
    """
    told = reconstruction.with_patch_statistics
    if original_statistics and told is not None:
        last = FrameRow(WITH_STATISTICS_LABEL, told)
    else:
        last = FrameRow(HONEST_LABEL, reconstruction.honest)
    return (
        FrameRow("input", reconstruction.original),
        FrameRow("what the model saw", reconstruction.seen),
        last,
    )


def _unit_patches(clips: Tensor, config: VideoMAEConfig) -> Tensor:
    """Cut uint8 (B, T, C, H, W) into float64 (B, N, P) in [0, 1]."""
    cut = patchify(clips, tubelet_size=config.tubelet_size, patch_size=config.patch_size)
    return cut.double() / 255


def _denormalise(
    pattern: NDArray[np.float64], mean: NDArray[np.float64], std: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Undo the target's normalisation: (M, K, C) with statistics (M, C)."""
    return pattern * (std[:, None] + 1e-6) + mean[:, None]


def _fill(
    pixels: NDArray[np.float64], mask: NDArray[np.bool_], hidden: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    filled = pixels.copy()
    filled[mask] = hidden
    return filled


def _to_frames(pixels: NDArray[np.float64], config: VideoMAEConfig) -> NDArray[np.uint8]:
    """Put patches (N, K, C) in [0, 1] together as uint8 (T, H, W, C); what lies outside is cut off."""
    levels = torch.from_numpy((pixels.clip(0, 1) * 255).round().astype(np.uint8))
    clip = unpatchify(
        levels.flatten(1)[None], config.grid, tubelet_size=config.tubelet_size, patch_size=config.patch_size
    )
    return np.ascontiguousarray(clip[0].permute(0, 2, 3, 1).numpy())


def _pixel_target(target: Target) -> PixelTarget:
    if not isinstance(target, PixelTarget):
        raise ConfigError(
            where="target",
            came=type(target).__name__,
            expected="a model that predicts pixels",
            todo="Draw reconstructions with a model pretrained on pixels.",
        )
    return target


def _check_mask(mask: NDArray[np.bool_], grid: PatchGrid) -> None:
    if mask.shape != (grid.num_tokens,):
        raise ConfigError(
            where="mask",
            came=f"shape {mask.shape}",
            expected=f"({grid.num_tokens},) for the model's grid {tuple(grid)}",
            todo="Draw the mask on model.config.grid.",
        )
