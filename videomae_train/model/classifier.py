"""The classifier: the encoder over all patches, one feature vector of its tokens, a norm and a linear head."""

from __future__ import annotations

from collections.abc import Collection
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videomae_train.errors import ConfigError
from videomae_train.model.config import VideoMAEConfig
from videomae_train.model.config_json import CLASSIFICATION
from videomae_train.model.encoder import Encoder
from videomae_train.model.heads import AttentivePool, BatchStandardise, fold_standardise
from videomae_train.model.initialisation import initialise_classifier, initialise_linear
from videomae_train.model.outputs import ClassificationOutput
from videomae_train.model.placing import place_exactly, warn_of_suspicions
from videomae_train.model.saving import plain_card, write_weights_folder
from videomae_train.model.sources import open_source


class VideoMAEForVideoClassification(nn.Module):
    """Action classifier (VideoMAE, section 4.1), with Hugging Face's call and timm's model interface.

    Attributes:
        num_classes: K; 0 without a head.
        num_features: D.
    """

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        self.config = config
        self.num_features = config.hidden_size
        self.encoder = Encoder(config, final_norm=not config.use_mean_pooling)
        self.fc_norm = (
            nn.LayerNorm(config.hidden_size, eps=config.fc_norm_eps)
            if config.use_mean_pooling
            else nn.Identity()
        )
        self.standardise = (
            BatchStandardise(config.hidden_size) if config.head_kind == "batch_norm" else nn.Identity()
        )
        if config.head_kind == "batch_norm":
            self.fc_norm.requires_grad_(False)  # what it would learn, batch norm takes away again
        self.head_drop = nn.Dropout(config.head_dropout)
        initialise_classifier(self.encoder, config.initializer_range)
        self.pool: AttentivePool | None = None
        if config.head_kind == "attentive":
            self.pool = AttentivePool(config)
            initialise_classifier(self.pool, config.initializer_range)
        self.head = self._fresh_head()

    @property
    def num_classes(self) -> int:
        """Classes K; 0 without a head."""
        return self.config.num_labels

    def forward(
        self, pixel_values: Tensor, labels: Tensor | None = None, output_hidden_states: bool = False
    ) -> ClassificationOutput:
        """Classify clips, called as in Hugging Face's documentation.

        Args:
            pixel_values: Floating (B, T, C, H, W), normalised.
            labels: int64 (B,) for cross-entropy; floating (B, K) for K independent labels, or (B,) when K is
                1.
            output_hidden_states: Return the tokens between the blocks too.

        Raises:
            ConfigError: The clips have another shape.
        """
        patches = self.encoder.patch_embed.cut(pixel_values)
        states = self.encoder.hidden_states(patches) if output_hidden_states else None
        features = self.encoder.norm(states[-1]) if states else self.encoder(patches)
        logits = self.forward_head(features)
        loss = None if labels is None else classification_loss(logits, labels)
        return ClassificationOutput(loss, logits, states)

    def classify(self, clips: Tensor) -> Tensor:
        """Classify bytes: uint8 (B, T, C, H, W) of 0..255 give logits (B, K).

        Raises:
            ConfigError: The clips are no bytes or have another shape.
        """
        if clips.dtype != torch.uint8:
            raise ConfigError(
                where="clips",
                came=str(clips.dtype),
                expected="torch.uint8 pixels of 0..255",
                todo="Pass bytes here, or normalised floats to the model's forward.",
            )
        patches = self.encoder.patch_embed.normalise(self.encoder.patch_embed.cut(clips))
        return self.forward_head(self.encoder(patches))

    def forward_features(self, pixel_values: Tensor) -> Tensor:
        """Encode all tokens: floating (B, T, C, H, W), normalised, give (B, N, D)."""
        return self.encoder(self.encoder.patch_embed.cut(pixel_values))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool tokens (B, N, D) and classify: logits (B, K), or with pre_logits the features (B, D)."""
        features = self.head_drop(self.standardise(self.fc_norm(self._pooled(x))))
        return features if pre_logits else self.head(features)

    def _pooled(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            return self.pool(x)
        return x.mean(dim=1) if self.config.use_mean_pooling else x[:, 0]

    def folded(self) -> VideoMAEForVideoClassification:
        """Give the same classifier without batch norm, which goes into the linear layer; without one, this model."""
        if self.config.head_kind != "batch_norm" or not self.num_classes:
            return self
        twin = deepcopy(self)
        twin.config, twin.standardise = replace(self.config, head_kind="linear"), nn.Identity()
        twin.load_state_dict(fold_standardise(self.state_dict()))
        return twin

    def get_classifier(self) -> nn.Module:
        """Give the head: a linear layer, or an identity without classes."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a fresh head for other classes on; 0 takes it off.

        Raises:
            ConfigError: Another pooling than the model was made with is asked for.
        """
        own_pool = "avg" if self.config.use_mean_pooling else "token"
        if global_pool not in (None, own_pool):
            raise ConfigError(
                where="global_pool",
                came=repr(global_pool),
                expected=repr(own_pool),
                todo="Make a model whose use_mean_pooling is what you want.",
            )
        self.config = self.config.with_labels(num_classes)
        self.head = self._fresh_head().to(self.encoder.positions.device, self.encoder.positions.dtype)

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Sort parameters by depth for layer-wise decay: the stem, each block, all else in the last group."""
        blocks = r"^encoder\.blocks\.(\d+)"
        return {"stem": r"^encoder\.patch_embed", "blocks": blocks if coarse else [(blocks, None)]}

    def no_weight_decay(self) -> set[str]:
        """Name the parameters of more than one dimension that are not to decay: none here."""
        return set()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade a second forward pass of each block for the memory of its activations."""
        self.encoder.grad_checkpointing = enable

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, config: VideoMAEConfig | None = None, allow: Collection[str] = ()
    ) -> Self:
        """Load weights, every tensor placed, in evaluation mode; call `train()` to train on.

        Args:
            source: A weights folder, a run's folder or checkpoint, an official file or a hub id; see
                `sources.open_source`.
            config: The architecture, for files that do not tell it, or another clip size than the weights were
                trained on, whose positions are then resampled; None reads or infers it.
            allow: Exact names of tensors that may be missing, extra or of another shape.

        Raises:
            CheckpointError: The weights are missing, damaged or of another model.
        """
        opened = open_source(source, config=config)
        model = cls(opened.config)
        warn_of_suspicions(place_exactly(model, opened, CLASSIFICATION, allow))
        return model.eval()

    def save_pretrained(self, folder: str | Path, card: str | None = None) -> None:
        """Write the model, `folded`, as a weights folder; see `saving.write_weights_folder`."""
        card = plain_card(CLASSIFICATION) if card is None else card
        model = self.folded()
        write_weights_folder(Path(folder), model.config, CLASSIFICATION, model.state_dict(), card)

    def _fresh_head(self) -> nn.Module:
        if not self.config.num_labels:
            return nn.Identity()
        head = nn.Linear(self.config.hidden_size, self.config.num_labels)
        initialise_linear(head, self.config.initializer_range)
        with torch.no_grad():
            head.weight.mul_(self.config.head_init_scale)
        return head


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Choose the loss by the labels, as transformers does: scalar.

    Args:
        logits: (B, K).
        labels: Integer (B,): cross-entropy. Floating (B, K): K binary losses. Any type with K = 1: squared
            error.
    """
    if logits.shape[-1] == 1:
        return F.mse_loss(logits.squeeze(-1), labels.to(logits.dtype).view(-1))
    if labels.dtype.is_floating_point:
        return F.binary_cross_entropy_with_logits(logits, labels)
    return F.cross_entropy(logits, labels)
