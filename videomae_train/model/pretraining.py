"""The pretraining model: encode what is visible, predict what is hidden."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videomae_train.errors import ConfigError
from videomae_train.model.config import VideoMAEConfig
from videomae_train.model.config_json import PRETRAINING
from videomae_train.model.cross_decoder import CrossDecoder
from videomae_train.model.decoder import JointDecoder
from videomae_train.model.encoder import Encoder
from videomae_train.model.initialisation import initialise_pretraining
from videomae_train.model.masked import check_token_numbers, split_bool_mask
from videomae_train.model.outputs import PreTrainingOutput
from videomae_train.model.patches import gather_tokens
from videomae_train.model.placing import place_exactly, warn_of_suspicions
from videomae_train.model.positions import position_table
from videomae_train.model.saving import plain_card, write_weights_folder
from videomae_train.model.sources import open_source
from videomae_train.model.targets import PixelTarget, Target


class VideoMAEForPreTraining(nn.Module):
    """Masked autoencoder of video (VideoMAE, section 3).

    Args:
        config: The architecture.
        target: What to predict; None means the pixels that `config.norm_pix_loss` asks for.
    """

    def __init__(self, config: VideoMAEConfig, target: Target | None = None) -> None:
        super().__init__()
        self.config = config
        self.target = pixel_target(config) if target is None else target
        self.encoder = Encoder(config, final_norm=config.encoder_norm)
        self.encoder_to_decoder = nn.Linear(config.hidden_size, config.decoder_hidden_size, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.decoder_hidden_size))
        make_decoder = {"joint": JointDecoder, "cross": CrossDecoder}[config.decoder_kind]
        self.decoder = make_decoder(config, self.target.num_values)
        table = position_table(config.grid, config.trained_grid, config.decoder_hidden_size)
        self.register_buffer("decoder_positions", table, persistent=False)
        self.decoder_positions: Tensor
        initialise_pretraining(self.encoder, self.decoder, self.mask_token)

    def forward(
        self, pixel_values: Tensor, bool_masked_pos: Tensor | None = None, output_hidden_states: bool = False
    ) -> PreTrainingOutput:
        """Reconstruct masked clips, called as in Hugging Face's documentation.

        Args:
            pixel_values: Floating (B, T, C, H, W), normalised.
            bool_masked_pos: Bool (B, N), True = hidden; each clip hides the same number.
            output_hidden_states: Return the encoder's tokens between the blocks too.

        Raises:
            ConfigError: The clips or the mask have the wrong type, shape or counts.
        """
        if bool_masked_pos is None:
            raise ConfigError(
                where="bool_masked_pos",
                came="no mask",
                expected="a boolean mask (B, N), True = hidden",
                todo="Pass one, or use VideoMAEModel to encode whole clips.",
            )
        patches = self.encoder.patch_embed.cut(pixel_values)
        visible_idx, hidden_idx = split_bool_mask(
            bool_masked_pos, batch=patches.shape[0], num_tokens=patches.shape[1]
        )
        visible = gather_tokens(patches, visible_idx)
        states = self.encoder.hidden_states(visible, visible_idx) if output_hidden_states else None
        latent = self.encoder.norm(states[-1]) if states else self.encoder(visible, visible_idx)
        logits = self.decode(latent, visible_idx, hidden_idx)
        truth = self.target(self.encoder.patch_embed.unit_range(gather_tokens(patches, hidden_idx)))
        return PreTrainingOutput(F.mse_loss(logits.to(truth.dtype), truth), logits, states)

    def training_loss(
        self, clips: Tensor, visible_idx: Tensor, hidden_idx: Tensor, unscored_idx: Tensor | None = None
    ) -> Tensor:
        """Mean squared error of the hidden patches' reconstruction; the training path, without a host sync.

        Args:
            clips: uint8 (B, T, C, H, W), 0..255.
            visible_idx: int64 (B, V), what the encoder sees.
            hidden_idx: int64 (B, M), what is reconstructed and scored: all hidden tokens, or a part of them.
            unscored_idx: int64 (B, U), visible tokens whose mask tokens enter the decoder too, without a loss
                (VideoMAE V2, section 3.2); U may be 0, None is the same.

        Returns:
            Scalar, at least float32 whatever autocast does.
        """
        patches = self._cut_bytes(clips)
        # Before the forward pass: after it, what the target computes on the way would come on top of all activations.
        truth = self._truth(patches, hidden_idx)
        queries = hidden_idx if unscored_idx is None else torch.cat([hidden_idx, unscored_idx], dim=1)
        prediction = self._predict(patches, visible_idx, queries)[:, : hidden_idx.shape[1]]
        return F.mse_loss(prediction.to(truth.dtype), truth)

    def dual_masking_loss(self, clips: Tensor, visible_idx: Tensor, decoded_idx: Tensor) -> Tensor:
        """VideoMAE V2's loss (section 3.2) of decoder masks that leave any number of hidden tokens in each clip.

        Positions that are both visible and decoded take part in the decoder, but not in the loss. Where their number
        is the same in each clip, as with running cells on tubes, `training_loss` gives the same for less.

        Args:
            clips: uint8 (B, T, C, H, W), 0..255.
            visible_idx: int64 (B, V), what the encoder sees.
            decoded_idx: int64 (B, K), what the decoder predicts; some of it may be visible, in each clip as
                much as it happens to be.

        Returns:
            Scalar: squared errors averaged over all decoded tokens of the batch that are hidden.
        """
        patches = self._cut_bytes(clips)
        truth = self._truth(patches, decoded_idx)
        prediction = self._predict(patches, visible_idx, decoded_idx)
        errors = (prediction.to(truth.dtype) - truth).square().mean(dim=-1)
        hidden = torch.ones(patches.shape[:2], dtype=truth.dtype, device=patches.device)
        scored = hidden.scatter(1, visible_idx, 0.0).gather(1, decoded_idx)
        return (errors * scored).sum() / scored.sum()

    def predict_hidden(self, clips: Tensor, visible_idx: Tensor, hidden_idx: Tensor) -> Tensor:
        """Reconstruct tokens.

        Args:
            clips: uint8 (B, T, C, H, W), 0..255.
            visible_idx: int64 (B, V), what the encoder sees.
            hidden_idx: int64 (B, M), what is predicted.

        Returns:
            (B, M, P) in the target's units, in the order of hidden_idx.
        """
        return self._predict(self._cut_bytes(clips), visible_idx, hidden_idx)

    def decode(self, latent: Tensor, visible_idx: Tensor, query_idx: Tensor) -> Tensor:
        """Predict positions from encodings.

        Args:
            latent: (B, V, D), the encoder's output.
            visible_idx: int64 (B, V), the encodings' token numbers.
            query_idx: int64 (B, M), token numbers to predict.

        Returns:
            (B, M, P).
        """
        visible = self.encoder_to_decoder(latent)
        positions = self.decoder_positions.to(visible.dtype)
        queries = self.mask_token + positions[query_idx]
        return self.decoder(visible + positions[visible_idx], queries)

    def no_weight_decay(self) -> set[str]:
        """Name the parameters of more than one dimension that are not to decay."""
        return {"mask_token"}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade a second forward pass of each block for the memory of its activations."""
        self.encoder.grad_checkpointing = enable
        self.decoder.grad_checkpointing = enable

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        config: VideoMAEConfig | None = None,
        target: Target | None = None,
        allow: Collection[str] = (),
    ) -> Self:
        """Load weights, every tensor placed, in evaluation mode; call `train()` to train on.

        Args:
            source: A weights folder, a run's folder or checkpoint, an official file or a hub id; see
                `sources.open_source`.
            config: The architecture, for files that do not tell it, or another clip size than the weights were
                trained on, whose positions are then resampled; None reads or infers it.
            target: What the weights were trained to predict; None means the configuration's pixels.
            allow: Exact names of tensors that may be missing, extra or of another shape.

        Raises:
            CheckpointError: The weights are missing, damaged or of another model.
        """
        opened = open_source(source, config=config)
        model = cls(opened.config, target)
        warn_of_suspicions(place_exactly(model, opened, PRETRAINING, allow))
        return model.eval()

    def save_pretrained(self, folder: str | Path, card: str | None = None) -> None:
        """Write the model as a weights folder; see `saving.write_weights_folder`."""
        card = plain_card(PRETRAINING) if card is None else card
        write_weights_folder(Path(folder), self.config, PRETRAINING, self.state_dict(), card)

    def _predict(self, patches: Tensor, visible_idx: Tensor, hidden_idx: Tensor) -> Tensor:
        batch, num_tokens, _ = patches.shape
        check_token_numbers(visible_idx, name="visible_idx", batch=batch, num_tokens=num_tokens)
        check_token_numbers(hidden_idx, name="hidden_idx", batch=batch, num_tokens=num_tokens)
        visible = self.encoder.patch_embed.normalise(gather_tokens(patches, visible_idx))
        return self.decode(self.encoder(visible, visible_idx), visible_idx, hidden_idx)

    def _truth(self, patches: Tensor, hidden_idx: Tensor) -> Tensor:
        batch, num_tokens, _ = patches.shape
        check_token_numbers(hidden_idx, name="hidden_idx", batch=batch, num_tokens=num_tokens)
        return self.target(self._unit_pixels(gather_tokens(patches, hidden_idx)))

    def _cut_bytes(self, clips: Tensor) -> Tensor:
        if clips.dtype != torch.uint8:
            raise ConfigError(
                where="clips",
                came=str(clips.dtype),
                expected="torch.uint8 pixels of 0..255",
                todo="Pass bytes here, or normalised floats to the model's forward.",
            )
        return self.encoder.patch_embed.cut(clips)

    def _unit_pixels(self, patches: Tensor) -> Tensor:
        dtype = torch.promote_types(self.mask_token.dtype, torch.float32)
        return patches.to(dtype) / 255.0


def pixel_target(config: VideoMAEConfig) -> PixelTarget:
    """Make the pixel target that a configuration asks for."""
    return PixelTarget(
        num_values=config.patch_values, num_channels=config.num_channels, normalise=config.norm_pix_loss
    )
