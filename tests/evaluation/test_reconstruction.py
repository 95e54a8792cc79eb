"""Reconstruction pictures show nothing of the hidden pixels; their loss is the training loss."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from videomae_train.errors import ConfigError
from videomae_train.evaluation.patch_statistics import interpolation_weights
from videomae_train.evaluation.reconstruction import (
    HIDDEN_GREY,
    VIEW_NOTES,
    Reconstruction,
    baseline_losses,
    reconstruct_clip,
    view_rows,
)
from videomae_train.masking import sample_frame_mask, sample_random_mask, sample_tube_mask, split_mask
from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining, patchify
from videomae_train.model.patches import gather_tokens
from videomae_train.model.pretraining import pixel_target

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]
Array = np.ndarray


def tiny_config(norm_pix_loss: bool = True) -> VideoMAEConfig:
    return VideoMAEConfig(
        image_size=(24, 32),
        patch_size=4,
        num_frames=6,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        decoder_hidden_size=16,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
        norm_pix_loss=norm_pix_loss,
    )


class Stub:
    """Stands for a model: predicts by a function of (clips, visible_idx, hidden_idx)."""

    def __init__(self, predict: Predict, norm_pix_loss: bool = True) -> None:
        self.config = tiny_config(norm_pix_loss)
        self.target = pixel_target(self.config)
        self.predict = predict

    def predict_hidden(self, clips: Tensor, visible_idx: Tensor, hidden_idx: Tensor) -> Tensor:
        return self.predict(clips, visible_idx, hidden_idx)


def zeros(clips: Tensor, visible_idx: Tensor, hidden_idx: Tensor) -> Tensor:
    return torch.zeros(*hidden_idx.shape, 3 * 2 * 4 * 4)


def oracle(norm_pix_loss: bool) -> Stub:
    """Predict exactly what the loss asks for."""

    def predict(clips: Tensor, visible_idx: Tensor, hidden_idx: Tensor) -> Tensor:
        patches = patchify(clips, tubelet_size=2, patch_size=4).double() / 255
        return stub.target(gather_tokens(patches, hidden_idx))

    stub = Stub(predict, norm_pix_loss)
    return stub


def noise_clip(seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (6, 3, 24, 32), np.uint8))


def smooth_clip() -> Tensor:
    """A colour gradient with a bright square that moves."""
    down, right = np.mgrid[0:24, 0:32]
    frame = np.stack([4 * right + 60, 5 * down + 50, 3 * right + 2 * down + 30], axis=0)
    clip = np.repeat(frame[None], 6, axis=0)
    for number in range(6):
        clip[number, :, 6:17, 6 + number : 18 + number] = np.array([230, 40, 200])[:, None, None]
    return torch.from_numpy(clip.astype(np.uint8))


def pixels_hidden(mask: Array) -> Array:
    """Spread a mask over pixels: bool (T, H, W)."""
    return mask.reshape(3, 6, 8).repeat(2, 0).repeat(4, 1).repeat(4, 2)


MASKS = {
    "tube": sample_tube_mask(tiny_config().grid, 0.75, np.random.default_rng(0)),
    "random": sample_random_mask(tiny_config().grid, 0.9, np.random.default_rng(1)),
    "frame": sample_frame_mask(tiny_config().grid, 0.5, np.random.default_rng(2)),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
@pytest.mark.parametrize("norm_pix_loss", [True, False])
def test_hidden_pixels__change_nothing_of_what_is_seen_and_reconstructed(
    mask: Array, norm_pix_loss: bool
) -> None:
    torch.manual_seed(0)
    model = VideoMAEForPreTraining(tiny_config(norm_pix_loss)).eval()
    clip = noise_clip()
    hidden = torch.from_numpy(pixels_hidden(mask))[:, None]
    first = reconstruct_clip(model, clip, mask)
    second = reconstruct_clip(model, torch.where(hidden, noise_clip(1), clip), mask)
    assert np.array_equal(first.seen, second.seen)
    assert np.array_equal(first.honest, second.honest)
    assert not np.array_equal(first.original, second.original)
    assert (first.with_patch_statistics is None) == (not norm_pix_loss)
    if norm_pix_loss:
        assert not np.array_equal(first.with_patch_statistics, second.with_patch_statistics)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
def test_visible_pixels__are_copied_and_hidden_ones_grey(mask: Array) -> None:
    clip, hidden = noise_clip(), pixels_hidden(mask)
    result = reconstruct_clip(Stub(zeros), clip, mask)
    frames = clip.permute(0, 2, 3, 1).numpy()
    assert np.array_equal(result.original, frames)
    for view in (result.seen, result.honest, result.with_patch_statistics):
        assert view is not None
        assert view.dtype == np.uint8
        assert view.shape == (6, 24, 32, 3)
        assert np.array_equal(view[~hidden], frames[~hidden])
    assert (result.seen[hidden] == HIDDEN_GREY).all()


def test_zero_prediction__leaves_a_smooth_interpolation() -> None:
    """No pattern is predicted, so a hidden patch is one colour, between those of the visible pixels."""
    mask = MASKS["tube"]
    clip = torch.from_numpy(np.broadcast_to(smooth_clip()[:1, :, :, -1:].numpy(), (6, 3, 24, 32)).copy())
    honest = reconstruct_clip(Stub(zeros), clip, mask).honest.astype(int)
    patches = honest.reshape(3, 2, 6, 4, 8, 4, 3).transpose(0, 2, 4, 1, 3, 5, 6).reshape(144, 32, 3)
    assert (patches[mask] == patches[mask][:, :1]).all()
    visible = patches[~mask].reshape(-1, 3)
    assert (patches[mask] >= visible.min(0)).all()
    assert (patches[mask] <= visible.max(0)).all()
    truth = clip.permute(0, 2, 3, 1).numpy().astype(int)
    assert np.abs(honest - truth).mean() < 0.25 * truth.std()


def error_of(result: Reconstruction, view: Array | None, mask: Array) -> float:
    assert view is not None
    hidden = pixels_hidden(mask)
    return float(np.abs(view[hidden].astype(int) - result.original[hidden]).mean())


def test_a_true_pattern__gets_about_its_true_brightness_back() -> None:
    mask = MASKS["tube"]
    told = reconstruct_clip(oracle(norm_pix_loss=True), smooth_clip(), mask)
    blank = reconstruct_clip(Stub(zeros), smooth_clip(), mask)
    assert told.loss < 1e-12
    assert error_of(told, told.with_patch_statistics, mask) < 0.01
    assert error_of(told, told.honest, mask) < 0.5 * error_of(blank, blank.honest, mask)


def test_view_rows__show_the_original_statistics_only_on_request_and_labelled() -> None:
    result = reconstruct_clip(oracle(norm_pix_loss=True), smooth_clip(), MASKS["tube"])
    views = (result.original, result.seen, result.honest)
    assert [row.frames is view for row, view in zip(view_rows(result), views, strict=True)] == [True] * 3
    label, frames = view_rows(result, original_statistics=True)[-1]
    assert frames is result.with_patch_statistics
    assert "original's statistics" in label
    assert "more than the model knows" in VIEW_NOTES[label]
    raw = reconstruct_clip(oracle(norm_pix_loss=False), smooth_clip(), MASKS["tube"])
    last = view_rows(raw, original_statistics=True)[-1]
    assert last.frames is raw.honest, "it predicts pixels, and needs no statistics"
    assert "prediction only" in VIEW_NOTES[last.label]


def test_raw_pixels__are_shown_as_predicted() -> None:
    result = reconstruct_clip(oracle(norm_pix_loss=False), noise_clip(), MASKS["random"])
    assert np.array_equal(result.honest, result.original)
    assert result.loss == 0


@pytest.mark.parametrize("norm_pix_loss", [True, False])
def test_loss__is_the_training_loss(norm_pix_loss: bool) -> None:
    torch.manual_seed(0)
    model = VideoMAEForPreTraining(tiny_config(norm_pix_loss)).eval()
    visible_idx, hidden_idx = (torch.from_numpy(idx)[None] for idx in split_mask(MASKS["tube"]))
    expected = float(model.training_loss(noise_clip()[None], visible_idx, hidden_idx).detach())
    assert reconstruct_clip(model, noise_clip(), MASKS["tube"]).loss == pytest.approx(expected, rel=1e-5)


def test_interpolation__is_an_average_in_which_the_nearest_counts_most() -> None:
    config = tiny_config()
    for mask in MASKS.values():
        weights = interpolation_weights(mask, config.grid)
        assert weights.shape == (mask.sum(), (~mask).sum())
        assert (weights > 0).all()
        np.testing.assert_allclose(weights.sum(1), 1)
    mask = np.ones(144, bool)
    mask[[8 + 2, 8 + 5, 48 + 8 + 3]] = False  # row 1, columns 2 and 5; column 3 of the next slot
    row_1_column_3 = np.flatnonzero(mask).tolist().index(8 + 3)
    nearest, farther, later = interpolation_weights(mask, config.grid)[row_1_column_3]
    assert nearest > farther
    assert nearest > later


def test_baselines__are_losses_of_predictions_without_a_model() -> None:
    config = tiny_config()
    clips = torch.stack([noise_clip(seed) for seed in range(4)])
    pairs = [split_mask(sample_tube_mask(config.grid, 0.75, np.random.default_rng(n))) for n in range(4)]
    visible_idx, hidden_idx = (torch.from_numpy(np.stack(idx)) for idx in zip(*pairs, strict=True))
    normalised = baseline_losses(config, pixel_target(config), clips, visible_idx, hidden_idx)
    assert normalised.predict_mean == pytest.approx(31 / 32, abs=1e-4)  # (n - 1) / n, n = 2 * 4 * 4
    assert normalised.copy_nearest == pytest.approx(2 * 31 / 32, abs=0.03)  # noise has nothing to copy
    raw = pixel_target(tiny_config(norm_pix_loss=False))
    assert baseline_losses(config, raw, clips, visible_idx, hidden_idx).predict_mean == pytest.approx(
        1 / 12, abs=2e-3
    )


def test_copying_the_nearest_patch__is_right_where_all_patches_are_equal() -> None:
    config, tile = tiny_config(), np.random.default_rng(0).integers(0, 256, (3, 4, 4), np.uint8)
    clips = torch.from_numpy(np.tile(tile, (1, 6, 1, 6, 8)))
    visible_idx, hidden_idx = (torch.from_numpy(idx)[None] for idx in split_mask(MASKS["tube"]))
    losses = baseline_losses(config, pixel_target(config), clips, visible_idx, hidden_idx)
    assert losses.copy_nearest == pytest.approx(0, abs=1e-12)


def test_copying__takes_the_neighbour_and_not_any_patch() -> None:
    config, raw = tiny_config(), pixel_target(tiny_config(norm_pix_loss=False))
    ramp = np.broadcast_to(np.arange(32, dtype=np.uint8) * 8, (1, 6, 3, 24, 32)).copy()
    visible, hidden = torch.tensor([[0, 6]]), torch.tensor([[1, 7]])  # columns 0 and 6; 1 and 7
    losses = baseline_losses(config, raw, torch.from_numpy(ramp), visible, hidden)
    assert losses.copy_nearest == pytest.approx((4 * 8 / 255) ** 2)


def test_a_mask_of_another_grid__is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\(143,\).*\(144,\)"):
        reconstruct_clip(Stub(zeros), noise_clip(), np.ones(143, bool))


def test_a_model_of_other_targets__is_refused() -> None:
    class Features:
        num_values = 96

        def __call__(self, patches: Tensor) -> Tensor:
            return patches

    stub = Stub(zeros)
    stub.target = Features()  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="predicts pixels"):
        reconstruct_clip(stub, noise_clip(), MASKS["tube"])
