"""What a run minimises: from a micro-batch to a loss. The loop does not know which task it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

import torch
import torch.nn.functional as F
from timm.data.mixup import Mixup
from timm.loss.cross_entropy import SoftTargetCrossEntropy
from torch import Tensor

from videomae_train.data.erasing import erase_boxes
from videomae_train.model import VideoMAEForPreTraining, VideoMAEForVideoClassification
from videomae_train.training.options import CompileMode, MixOptions
from videomae_train.types import LabeledBatch, PretrainBatch

TrainedModel = VideoMAEForPreTraining | VideoMAEForVideoClassification

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function, mode: CompileMode) -> Function:
    """Compile a method of a model as one graph of static shapes, or give it back as it is.

    The model itself stays as it is, and so do the names of its state. Draws of drop path and dropout are other ones in
    compiled code.
    """
    if mode is False:
        return function
    kind = None if mode is True else mode
    return cast("Function", torch.compile(function, fullgraph=True, dynamic=False, mode=kind))


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


class ReconstructionTask:
    """Masked reconstruction (VideoMAE, section 3).

    Args:
        model: What is trained.
        compile: Compile everything from bytes to the loss.
    """

    def __init__(self, model: VideoMAEForPreTraining, compile: CompileMode = False) -> None:
        self.model = model
        self._training_loss = compiled(model.training_loss, compile)

    def loss(self, batch: PretrainBatch) -> Tensor:
        """Mean squared error over the hidden tokens of a micro-batch."""
        return self._training_loss(batch.clips, batch.visible_idx, batch.hidden_idx, batch.unscored_idx)


class ClassificationTask:
    """Action classification with mixup or cutmix over whole clips.

    Args:
        model: What is trained.
        options: Mixing and smoothing of labels.
        num_classes: Classes of the labels.
        compile: Compile the model; mixing draws on the host and stays outside.
    """

    def __init__(
        self,
        model: VideoMAEForVideoClassification,
        options: MixOptions,
        num_classes: int,
        compile: CompileMode = False,
    ) -> None:
        self.model = model
        self._forward = compiled(model.forward, compile)
        self._options = options
        self._mix = _build_mix(options, num_classes) if options.mixes else None

    def loss(self, batch: LabeledBatch) -> Tensor:
        """Cross-entropy against mixed soft labels, or against smoothed ones without mixing."""
        # The model's own mean and deviation: scores are taken with them too.
        pixels = self.model.encoder.patch_embed.normalise_clips(batch.clips)
        if batch.erase_boxes is not None:
            pixels = erase_boxes(pixels, batch.erase_boxes)
        if self._mix is None:
            logits = self._forward(pixels).logits.float()
            return F.cross_entropy(logits, batch.labels, label_smoothing=self._options.label_smoothing)
        # timm mixes (B, C, H, W): frames folded into channels give all frames of a clip the same box.
        mixed, targets = self._mix(pixels.flatten(1, 2), batch.labels)
        return SoftTargetCrossEntropy()(self._forward(mixed.view(pixels.shape)).logits.float(), targets)


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
