"""What a run minimises: from a micro-batch to a loss. The loop does not know which task it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch.nn.functional as F
from timm.data.mixup import Mixup
from timm.loss.cross_entropy import SoftTargetCrossEntropy
from torch import Tensor

from videomae_train.data.erasing import erase_boxes
from videomae_train.model import VideoMAEForPreTraining, VideoMAEForVideoClassification
from videomae_train.types import LabeledBatch, PretrainBatch

TrainedModel = VideoMAEForPreTraining | VideoMAEForVideoClassification


class Task(Protocol):
    """A model with its loss."""

    @property
    def model(self) -> TrainedModel:
        """The model whose parameters are trained."""
        ...

    def loss(self, batch: Any) -> Tensor:
        """Return the mean loss of a micro-batch, a scalar on the model's device.

        Each task takes the batches of its own data module. Draws of library code come from the global generators,
        which the loop has seeded for this micro-batch.
        """
        ...


@dataclass(frozen=True)
class ReconstructionTask:
    """Masked reconstruction (VideoMAE, section 3)."""

    model: VideoMAEForPreTraining

    def loss(self, batch: PretrainBatch) -> Tensor:
        """Mean squared error over the hidden tokens of a micro-batch."""
        return self.model.training_loss(batch.clips, batch.visible_idx, batch.hidden_idx, batch.unscored_idx)


@dataclass(frozen=True)
class MixOptions:
    """Mixing of clips and labels (published: mixup 0.8, cutmix 1, label smoothing 0.1).

    Attributes:
        mixup_alpha: Beta parameter of mixup; 0 turns it off.
        cutmix_alpha: Beta parameter of cutmix; 0 turns it off. With both on, each batch takes one, at even odds.
        label_smoothing: Share of the label's mass spread over all classes, in [0, 1).
    """

    mixup_alpha: float
    cutmix_alpha: float
    label_smoothing: float

    @property
    def mixes(self) -> bool:
        """Whether clips are mixed at all."""
        return self.mixup_alpha > 0 or self.cutmix_alpha > 0


class ClassificationTask:
    """Action classification with mixup or cutmix over whole clips."""

    def __init__(self, model: VideoMAEForVideoClassification, options: MixOptions, num_classes: int) -> None:
        self.model = model
        self._options = options
        self._mix = _build_mix(options, num_classes) if options.mixes else None

    def loss(self, batch: LabeledBatch) -> Tensor:
        """Cross-entropy against mixed soft labels, or against smoothed ones without mixing."""
        # The model's own mean and deviation: scores are taken with them too.
        pixels = self.model.encoder.patch_embed.normalise_clips(batch.clips)
        if batch.erase_boxes is not None:
            pixels = erase_boxes(pixels, batch.erase_boxes)
        if self._mix is None:
            logits = self.model(pixels).logits.float()
            return F.cross_entropy(logits, batch.labels, label_smoothing=self._options.label_smoothing)
        # timm mixes (B, C, H, W): frames folded into channels give all frames of a clip the same box.
        mixed, targets = self._mix(pixels.flatten(1, 2), batch.labels)
        return SoftTargetCrossEntropy()(self.model(mixed.view(pixels.shape)).logits.float(), targets)


def _build_mix(options: MixOptions, num_classes: int) -> Mixup:
    return Mixup(
        mixup_alpha=options.mixup_alpha,
        cutmix_alpha=options.cutmix_alpha,
        prob=1.0,
        switch_prob=0.5,
        mode="batch",
        label_smoothing=options.label_smoothing,
        num_classes=num_classes,
    )
