"""Every decoder and every choice of what it reconstructs, from YAML to two steps of training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from command_line import QUICK, SMALL, videomae
from torch import Tensor

from videomae_train.config import build
from videomae_train.config.loader import compose_config, load_config
from videomae_train.config.schema import FinetuneConfig, PretrainConfig
from videomae_train.data.loader import collate_pretrain
from videomae_train.errors import ConfigError
from videomae_train.masking import running_cell_map
from videomae_train.model import VideoMAEForPreTraining, patchify
from videomae_train.training.records import read_metric
from videomae_train.types import PretrainBatch

# 8 frames of 32 x 32 in patches of 2 x 8 x 8: a grid of 4 x 4 x 4, which running cells can tile.
MODEL = ["model=tiny", *SMALL, "model.num_frames=8"]
TWO_STEPS = [*QUICK, "optim.steps=2", "optim.warmup_steps=0"]
CHOICES = {"all": 48, "running_cell": 24, "share": 12}  # of 64 tokens, 48 hidden


def load(packed: Path, *overrides: str) -> PretrainConfig:
    given = [*MODEL, *TWO_STEPS, f"data.path={packed}", "run=x", "masking.ratio=0.75", *overrides]
    return load_config("pretrain", compose_config("pretrain", given), PretrainConfig)


def first_batch(config: PretrainConfig) -> PretrainBatch:
    data = build.pretrain_data(config)
    return collate_pretrain([data.dataset[position] for position in range(3)])


def loss_by_hand(model: VideoMAEForPreTraining, batch: PretrainBatch, scored: list[list[int]]) -> float:
    """Mean squared error, token by token."""
    queries = torch.cat([batch.unscored_idx, batch.hidden_idx], dim=1)
    predicted = model.predict_hidden(batch.clips, batch.visible_idx, queries)[:, -batch.hidden_idx.shape[1] :]
    patches = patchify(batch.clips.double() / 255.0, tubelet_size=2, patch_size=8)
    errors: list[Tensor] = []
    for clip, tokens in enumerate(scored):
        places = batch.hidden_idx[clip].tolist()
        for token in tokens:
            truth = model.target(patches[clip, token][None, None])[0, 0]
            errors.append((predicted[clip, places.index(token)] - truth).square().mean())
    return float(torch.stack(errors).mean().detach())


@pytest.mark.parametrize("decode", CHOICES)
@pytest.mark.parametrize("kind", ["joint", "cross"])
def test_two_steps__from_the_command_line(
    kind: str, decode: str, packed_motions: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    chosen = [f"model.decoder_kind={kind}", f"masking/decode={decode}", "masking.ratio=0.75"]
    given = [*MODEL, *TWO_STEPS, *chosen, f"data.path={packed_motions}", f"run={run}"]
    assert videomae("pretrain", *given) == 0
    assert len(read_metric(run, "train/loss")[1]) == 2
    assert VideoMAEForPreTraining.from_pretrained(run).config.decoder_kind == kind
    reconstructed = "all" if decode == "all" else str(CHOICES[decode])
    card = (run / "weights" / "README.md").read_text()
    assert f"48 of 64 tokens hidden, 0.7500; {reconstructed} of these reconstructed" in card


@pytest.mark.parametrize("decode", CHOICES)
@pytest.mark.parametrize("overrides", [[], ["model.decoder_kind=cross"], ["model.norm_pix_loss=false"]])
def test_loss__is_the_mean_over_what_is_hidden_and_decoded(
    overrides: list[str], decode: str, packed_motions: Path
) -> None:
    config = load(packed_motions, f"masking/decode={decode}", *overrides)
    batch = first_batch(config)
    assert batch.hidden_idx.shape == (3, CHOICES[decode])
    assert config.masking.counts(config.model.grid) == (48, CHOICES[decode])
    hidden = [sorted(set(range(64)) - set(visible)) for visible in batch.visible_idx.tolist()]
    assert all(set(ours) <= set(all_) for ours, all_ in zip(batch.hidden_idx.tolist(), hidden, strict=True))
    task = build.reconstruction_task(config, build.pretraining_model(config)[0])
    task.model.double()
    decoded = [set(tokens) for tokens in batch.hidden_idx.tolist()]
    scored = [[token for token in clip if token in decoded[place]] for place, clip in enumerate(hidden)]
    assert task.loss(batch).item() == pytest.approx(loss_by_hand(task.model, batch, scored), rel=1e-12)


def test_running_cells__leave_a_published_pattern_in(packed_motions: Path) -> None:
    """V2's dual masking: a pattern is decoded whole, and scored where the tube hides."""
    config = load(packed_motions, "masking/decode=running_cell")
    batch = first_batch(config)
    patterns = [running_cell_map(config.model.grid, 0.5, start=start) for start in range(4)]
    left_in = [[token for token in range(64) if not pattern[token]] for pattern in patterns]
    for visible, scored, unscored in zip(*(part.tolist() for part in batch[1:4]), strict=True):
        assert sorted(scored + unscored) in left_in
        assert set(unscored) <= set(visible)
        assert not set(scored) & set(visible)


@pytest.mark.parametrize("mask", ["tube", "frame"])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_running_cells__train_on_v2s_loss_exactly(mask: str, ratio: float, packed_motions: Path) -> None:
    given = [f"masking={mask}", "masking/decode=running_cell", f"masking.decode.ratio={ratio}"]
    config = load(packed_motions, *given)
    batch, (model, _) = first_batch(config), build.pretraining_model(config)
    task = build.reconstruction_task(config, model)
    model.double()
    assert batch.unscored_idx.shape == (3, round(16 * (1 - ratio)))
    torch.nn.init.normal_(model.decoder.head.weight)  # predictions that differ from token to token
    decoded_idx = torch.cat([batch.hidden_idx, batch.unscored_idx], dim=1).sort(dim=1).values
    losses = [task.loss(batch), model.dual_masking_loss(batch.clips, batch.visible_idx, decoded_idx)]
    ours, published = (torch.autograd.grad(loss, list(model.parameters())) for loss in losses)
    assert abs(losses[0] - losses[1]) < 1e-10
    for one, two in zip(ours, published, strict=True):
        assert (one - two).abs().max() < 1e-10
    alone = model.training_loss(batch.clips, batch.visible_idx, batch.hidden_idx)
    assert abs(losses[0] - alone) > 1e-6, "the tokens without a loss do take part"


def test_frame_masks__report_the_share_that_is_really_hidden(
    packed_motions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*MODEL, *TWO_STEPS, "masking=frame", "masking.ratio=0.9", f"data.path={packed_motions}"]
    assert videomae("pretrain", *given, f"run={tmp_path / 'run'}") == 0
    assert "Masks: frame mask, ratio 0.9: 48 of 64 tokens hidden, 0.7500" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["masking=random", "masking/decode=running_cell"], "masking/decode=share"),
        (["masking/decode=running_cell", "masking.decode.ratio=0.1"], r"masking\.decode\.ratio"),
        (["masking/decode=running_cell", "model.num_frames=4"], "t a multiple of 4"),
        (["masking/decode=share", "masking.decode.share=0.001"], r"masking\.decode\.share"),
        (["masking/decode=half"], "half"),
        (["masking/decode=share", "+masking.decode.ratio=0.5"], "unknown key"),
        (["model.decoder_kind=linear"], "decoder_kind"),
    ],
)
def test_choices_that_cannot_be__are_refused_before_training(
    overrides: list[str], named: str, packed_motions: Path
) -> None:
    with pytest.raises(ConfigError, match=named):
        build.pretrain_data(load(packed_motions, *overrides))


@pytest.mark.parametrize("start", ["weights", "scratch"])
def test_models__are_trained_in_training_mode(start: str, packed_motions: Path, tmp_path: Path) -> None:
    pretraining, _ = build.pretraining_model(load(packed_motions))
    assert pretraining.training
    pretraining.save_pretrained(tmp_path / "w")
    source = f"weights={tmp_path / 'w'}" if start == "weights" else "model=tiny"
    given = [source, *QUICK, f"data.path={packed_motions}", "run=x"]
    config = load_config("finetune", compose_config("finetune", given), FinetuneConfig)
    model, _ = build.classifier(config, ("left", "right"))
    assert all(module.training for module in model.modules())
