"""What a task computes from a micro-batch."""

from __future__ import annotations

import pytest
import torch
from timm.data.mixup import Mixup
from torch.nn import functional as F

from videomae_train.model import VideoMAEConfig, VideoMAEForVideoClassification, normalise_clips
from videomae_train.training.tasks import ClassificationTask, MixOptions
from videomae_train.types import LabeledBatch

CONFIG = VideoMAEConfig(
    image_size=32, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=48, image_mean=(0.5, 0.4, 0.3), image_std=(0.1, 0.2, 0.3), head_init_scale=1.0,
)  # fmt: skip


def batch() -> LabeledBatch:
    clips = torch.randint(0, 256, (4, 4, 32, 32, 3), dtype=torch.uint8).permute(0, 1, 4, 2, 3)
    return LabeledBatch(clips, torch.tensor([0, 1, 2, 1]), torch.arange(4), ())


@pytest.fixture
def model() -> VideoMAEForVideoClassification:
    torch.manual_seed(0)
    return VideoMAEForVideoClassification(CONFIG.with_labels(3)).eval()


def logits_of(model: VideoMAEForVideoClassification, given: LabeledBatch) -> torch.Tensor:
    """Weights may have another mean than ImageNet's: they train on what they are evaluated on."""
    return model(normalise_clips(given.clips, CONFIG.image_mean, CONFIG.image_std)).logits


def test_classification__normalises_by_the_models_own_statistics(
    model: VideoMAEForVideoClassification,
) -> None:
    given = batch()
    loss = ClassificationTask(model, MixOptions(0.0, 0.0, 0.1), 3).loss(given)
    assert abs(loss - F.cross_entropy(logits_of(model, given), given.labels, label_smoothing=0.1)) < 1e-6


def test_mixing__does_so_too(model: VideoMAEForVideoClassification, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mixup, "__call__", lambda _, pixels, labels: (pixels, torch.eye(3)[labels]))
    given = batch()
    loss = ClassificationTask(model, MixOptions(0.8, 0.0, 0.0), 3).loss(given)
    assert abs(loss - F.cross_entropy(logits_of(model, given), given.labels)) < 1e-6
