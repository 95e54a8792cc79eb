"""What is hidden stays hidden from the encoder, or it is found out, whatever the ratio and the decoder."""

import pytest
import torch
from stepping import CONFIG, make_batch
from torch import Tensor

from videomae_train.model import VideoMAEForPreTraining
from videomae_train.training.leaks import encoder_sees_hidden_pixels

BATCH = make_batch(0, 2)


@pytest.fixture
def model() -> VideoMAEForPreTraining:
    torch.manual_seed(0)
    return VideoMAEForPreTraining(CONFIG)


def test_a_model_that_is_right__sees_nothing_hidden(model: VideoMAEForPreTraining) -> None:
    assert not encoder_sees_hidden_pixels(model, BATCH)
    swapped = BATCH._replace(visible_idx=BATCH.hidden_idx, hidden_idx=BATCH.visible_idx)
    assert not encoder_sees_hidden_pixels(model, swapped), "at 50 % that is a mask too"


def test_indices_that_overlap__are_found(model: VideoMAEForPreTraining) -> None:
    one = torch.cat([BATCH.hidden_idx[:, :1], BATCH.visible_idx[:, 1:]], dim=1)
    assert encoder_sees_hidden_pixels(model, BATCH._replace(visible_idx=one))


def test_a_loss_that_encodes_the_hidden_half__is_found(
    model: VideoMAEForPreTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = VideoMAEForPreTraining.training_loss

    def inverted(
        self: VideoMAEForPreTraining, clips: Tensor, visible: Tensor, hidden: Tensor, unscored: Tensor
    ) -> Tensor:
        return right(self, clips, hidden, hidden, unscored)

    monkeypatch.setattr(VideoMAEForPreTraining, "training_loss", inverted)
    assert encoder_sees_hidden_pixels(model, BATCH)


def test_looking__leaves_no_trace(model: VideoMAEForPreTraining) -> None:
    before, clips = {name: value.clone() for name, value in model.state_dict().items()}, BATCH.clips.clone()
    encoder_sees_hidden_pixels(model, BATCH)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(BATCH.clips, clips)
    assert not model.encoder._forward_pre_hooks  # pyright: ignore[reportPrivateUsage]
    assert all(parameter.grad is None for parameter in model.parameters())
