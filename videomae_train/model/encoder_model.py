"""The bare encoder with Hugging Face's call: features of whole or masked clips."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Self

from torch import Tensor, nn

from videomae_train.model.config import VideoMAEConfig
from videomae_train.model.config_json import ENCODER
from videomae_train.model.encoder import Encoder
from videomae_train.model.initialisation import initialise_classifier
from videomae_train.model.masked import split_bool_mask
from videomae_train.model.outputs import EncoderOutput
from videomae_train.model.patches import gather_tokens
from videomae_train.model.placing import encoder_config, place_encoder, warn_of_suspicions
from videomae_train.model.saving import plain_card, write_weights_folder
from videomae_train.model.sources import open_source


class VideoMAEModel(nn.Module):
    """Vision transformer over video patches, without a head; its final norm follows `config.encoder_norm`."""

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config, final_norm=config.encoder_norm)
        initialise_classifier(self.encoder, config.initializer_range)

    def forward(
        self, pixel_values: Tensor, bool_masked_pos: Tensor | None = None, output_hidden_states: bool = False
    ) -> EncoderOutput:
        """Encode clips, called as in Hugging Face's documentation.

        Args:
            pixel_values: Floating (B, T, C, H, W), normalised.
            bool_masked_pos: Bool (B, N), True = hidden, the same number in each clip; None encodes all tokens.
            output_hidden_states: Return the tokens between the blocks too.

        Raises:
            ConfigError: The clips or the mask have the wrong type, shape or counts.
        """
        patches, idx = self.encoder.patch_embed.cut(pixel_values), None
        if bool_masked_pos is not None:
            batch, num_tokens, _ = patches.shape
            idx, _ = split_bool_mask(bool_masked_pos, batch=batch, num_tokens=num_tokens)
            patches = gather_tokens(patches, idx)
        if output_hidden_states:
            states = self.encoder.hidden_states(patches, idx)
            return EncoderOutput(self.encoder.norm(states[-1]), states)
        return EncoderOutput(self.encoder(patches, idx), None)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade a second forward pass of each block for the memory of its activations."""
        self.encoder.grad_checkpointing = enable

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, config: VideoMAEConfig | None = None, allow: Collection[str] = ()
    ) -> Self:
        """Load the encoder of weights of any class, in evaluation mode.

        Args:
            source: A weights folder, a run's folder or checkpoint, an official file or a hub id; see
                `sources.open_source`.
            config: The architecture, for files that do not tell it, or another clip size than the weights were
                trained on, whose positions are then resampled; None reads or infers it.
            allow: Exact names of tensors that may be missing, extra or of another shape.

        Raises:
            CheckpointError: The weights are missing, damaged or of another architecture.
        """
        opened = open_source(source, config=config)
        model = cls(encoder_config(opened))
        warn_of_suspicions(place_encoder(model, opened, allow))
        return model.eval()

    def save_pretrained(self, folder: str | Path, card: str | None = None) -> None:
        """Write the encoder as a weights folder; see `saving.write_weights_folder`."""
        card = plain_card(ENCODER) if card is None else card
        write_weights_folder(Path(folder), self.config, ENCODER, self.state_dict(), card)
