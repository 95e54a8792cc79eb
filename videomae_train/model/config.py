"""The one place of every architecture knob of the model, under Hugging Face's field names."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self

from videomae_train.model.config_checks import check_config
from videomae_train.types import PatchGrid

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class VideoMAEConfig:
    """Architecture of an encoder, its pretraining decoder and its classification head.

    The defaults are the published ViT-B (VideoMAE, table 2). Other sizes are values in `configs/model/`.

    Attributes:
        image_size: Height and width of a frame in pixels; one number for square frames.
        patch_size: Edge of a patch in pixels.
        num_channels: C, 3 for RGB.
        num_frames: T, frames of a clip.
        tubelet_size: Frames that one patch spans.
        hidden_size: Encoder width D.
        num_hidden_layers: Encoder blocks.
        num_attention_heads: Encoder heads; must divide hidden_size.
        intermediate_size: Width inside the encoder's MLPs.
        hidden_act: "gelu" is the exact one (published).
        hidden_dropout_prob: Dropout after attention and MLP; published 0.
        attention_probs_dropout_prob: Dropout on attention weights; published 0.
        initializer_range: Standard deviation of a fine-tuned classifier's fresh linear weights.
        qkv_bias: Learned biases on queries and values (never on keys).
        use_mean_pooling: The classifier averages all tokens, then `fc_norm` (published). False: `norm`, then
            the first token.
        decoder_num_attention_heads: Decoder heads; must divide decoder_hidden_size.
        decoder_hidden_size: Decoder width.
        decoder_num_hidden_layers: Decoder blocks.
        decoder_intermediate_size: Width inside the decoder's MLPs.
        norm_pix_loss: Reconstruct pixels normalised per patch and channel (published) rather than raw ones.
        layer_norm_eps: Epsilon in all blocks and in the encoder's final norm; published 1e-6, transformers
            1e-12.
        decoder_norm_eps: Epsilon of the decoder's final norm; published 1e-6, transformers 1e-5.
        fc_norm_eps: Epsilon of the classifier's norm; published 1e-6, transformers 1e-5.
        encoder_norm: The pretraining encoder ends in a norm (published). False only for transformers'
            pretraining models that were made with use_mean_pooling=True, which have none.
        decoder_kind: "joint": decoder tokens attend to visible ones and each other. "cross": to visible ones
            only.
        drop_path_rate: Stochastic depth of the last encoder block; grows linearly from 0 over the depth.
        head_dropout: Dropout before the classification head.
        head_init_scale: Factor on the fresh classification head; published 0.001.
        head_kind: What the classifier does between its tokens and the linear layer. "linear": their mean and `fc_norm`
            (published). "batch_norm": after these a batch norm without weights, for linear probes; it is folded into
            the linear layer when the model is saved. "attentive": `fc_norm` over what a learned query finds by
            cross-attention to all tokens, for attentive probes.
        image_mean: Per channel, on pixels in [0, 1]; what uint8 clips are normalised with.
        image_std: Per channel, likewise.
        position_grid: (t, h, w) that the position table was trained on; None means this configuration's own
            grid.
        num_labels: Classes K; 0 for a model without a head. Follows from id2label where that is given.
        id2label: Class number to name; made up as LABEL_0 ... where only num_labels is given.

    Raises:
        ConfigError: A value is out of range, or two values contradict each other.
    """

    image_size: int | tuple[int, int] = 224
    patch_size: int = 16
    num_channels: int = 3
    num_frames: int = 16
    tubelet_size: int = 2
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: Literal["gelu", "gelu_pytorch_tanh", "relu"] = "gelu"
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    initializer_range: float = 0.02
    qkv_bias: bool = True
    use_mean_pooling: bool = True
    decoder_num_attention_heads: int = 6
    decoder_hidden_size: int = 384
    decoder_num_hidden_layers: int = 4
    decoder_intermediate_size: int = 1536
    norm_pix_loss: bool = True
    layer_norm_eps: float = 1e-6
    decoder_norm_eps: float = 1e-6
    fc_norm_eps: float = 1e-6
    encoder_norm: bool = True
    decoder_kind: Literal["joint", "cross"] = "joint"
    drop_path_rate: float = 0.0
    head_dropout: float = 0.0
    head_init_scale: float = 0.001
    head_kind: Literal["linear", "batch_norm", "attentive"] = "linear"
    image_mean: tuple[float, ...] = IMAGENET_MEAN
    image_std: tuple[float, ...] = IMAGENET_STD
    position_grid: tuple[int, int, int] | None = None
    num_labels: int = 0
    id2label: dict[int, str] = field(default_factory=dict[int, str])

    def __post_init__(self) -> None:
        check_config(self)
        names = self.id2label or {number: f"LABEL_{number}" for number in range(self.num_labels)}
        object.__setattr__(self, "id2label", dict(sorted(names.items())))
        object.__setattr__(self, "num_labels", len(names))

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of a frame in pixels."""
        return self.image_size if isinstance(self.image_size, tuple) else (self.image_size, self.image_size)

    @property
    def grid(self) -> PatchGrid:
        """Patches along time, height and width."""
        height, width = self.frame_size
        return PatchGrid(
            t=self.num_frames // self.tubelet_size, h=height // self.patch_size, w=width // self.patch_size
        )

    @property
    def trained_grid(self) -> PatchGrid:
        """Grid that the position table was trained on."""
        return self.grid if self.position_grid is None else PatchGrid(*self.position_grid)

    @property
    def patch_values(self) -> int:
        """Pixel values of one patch over all channels, P."""
        return self.num_channels * self.tubelet_size * self.patch_size**2

    @property
    def label2id(self) -> dict[str, int]:
        """Class name to number."""
        return {name: number for number, name in self.id2label.items()}

    @classmethod
    def from_pretrained(cls, source: str | Path) -> VideoMAEConfig:
        """Read the configuration of weights: a folder, a run's folder, an official file or a hub id.

        Raises:
            CheckpointError: There is none, or it is damaged.
        """
        # Reading weights needs configurations, so this class cannot know its readers before it is made.
        from videomae_train.model.sources import read_config

        return read_config(source)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` into a folder, which is made if need be."""
        from videomae_train.model.saving import write_config

        write_config(Path(folder), self)

    def with_labels(self, labels: int | dict[int, str]) -> Self:
        """Give the same configuration for other classes, as their number or their names."""
        if isinstance(labels, int):
            return replace(self, num_labels=labels, id2label={})
        return replace(self, num_labels=len(labels), id2label=labels)


def on_trained_grid(config: VideoMAEConfig, trained: VideoMAEConfig) -> VideoMAEConfig:
    """Give a configuration with the position table of the weights' one, resampled where clips differ in size."""
    grid = trained.trained_grid
    return replace(config, position_grid=None if grid == config.grid else tuple(grid))
